#!/usr/bin/env bash
# Prints the folder that holds etcd, kube-apiserver, kubectl and cert-manager,
# for the tests and the demo, and builds what is missing there from the modules
# pinned in hack/programs. Where KUBEBUILDER_ASSETS is set, the first three are
# taken from it.
set -euo pipefail
cd "$(dirname "$0")/programs"

cache=${S3_TLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/s3-tls-injector}
version=$(cat ../assets.sh */go.* */*.go | cksum | cut -d' ' -f1)
folder=$cache/assets-$version-$(go env GOOS)-$(go env GOARCH)${KUBEBUILDER_ASSETS:+-links}
mkdir -p "$folder"

say() { echo "assets: $*" >&2; }

# build PROGRAM MODULE MINUTES ARGUMENT...: builds into the folder, telling every
# 30 seconds that it is still at it.
build() {
  local program=$1 module=$2 minutes=$3 started=$SECONDS
  shift 3
  if [ -x "$folder/$program" ]; then return; fi
  say "building $program; a cold build takes about $minutes min on two cores, later ones seconds"
  (
    cd "$module"
    CGO_ENABLED=0 go build -trimpath -o "$folder/.$program" "$@"
  ) &
  local pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    if [ $(((SECONDS - started) % 30)) -eq 29 ]; then say "building $program, $((SECONDS - started)) s so far"; fi
  done
  wait "$pid"
  mv "$folder/.$program" "$folder/$program"
  say "built $program in $((SECONDS - started)) s"
}

kubernetes=$(cd kubernetes && go list -m -f '{{.Version}}' k8s.io/kubernetes)
ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes"
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for program in etcd kube-apiserver kubectl; do
    if [ ! -x "$KUBEBUILDER_ASSETS/$program" ]; then
      say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $program; complete the folder or unset the variable"
      exit 1
    fi
    ln -sf "$KUBEBUILDER_ASSETS/$program" "$folder/$program"
  done
else
  build etcd etcd 1 -ldflags '-s -w' .
  build kube-apiserver kubernetes 8 -ldflags "$ldflags" k8s.io/kubernetes/cmd/kube-apiserver
  build kubectl kubernetes 1 -ldflags "$ldflags" k8s.io/kubernetes/cmd/kubectl
fi
build cert-manager cert-manager 2 -ldflags '-s -w' .
mkdir -p "$folder/cert-manager-crds"
cp -f "$(cd cert-manager && go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)"/deploy/crds/*.yaml "$folder/cert-manager-crds/"
chmod -R u+w "$folder/cert-manager-crds"
echo "$folder"
