#!/usr/bin/env bash
# Builds the programs that tests and the demo run, from the modules pinned in
# hack/programs, and prints the folder that holds them.
#
# Usage: hack/assets.sh [GROUP...]
#   api       etcd, kube-apiserver, kubectl, cert-manager (the default); where
#             KUBEBUILDER_ASSETS is set, the first three are taken from it
#   node      the rest of Kubernetes, containerd, CoreDNS
#   monitoring  promtool
#   products  MinIO, Thanos, Prometheus, Tempo, telemetrygen
#   more      tempo-operator, trust-manager, Loki, Mimir
#
# What is built stays in S3_TLS_CACHE (~/.cache/s3-tls-injector) until the files
# of its module change.
set -euo pipefail
cd "$(dirname "$0")/programs"

cache=${S3_TLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/s3-tls-injector}
platform=$(go env GOOS)-$(go env GOARCH)
groups=${*:-api}
folder=$cache/assets-$(tr ' ' '-' <<<"$groups")-$platform${KUBEBUILDER_ASSETS:+-links}
mkdir -p "$folder"

say() { echo "assets: $*" >&2; }

# build MODULE MINUTES PROGRAM PACKAGE [LDFLAG...]: builds, telling every 30
# seconds that it is still at it, and links the program into the folder. Build
# tags are in the variable tags.
build() {
  local module=$1 minutes=$2 program=$3 package=$4 ldflags="-s -w ${*:5}" started=$SECONDS
  local store
  store=$cache/programs/$module-$(cat "$module"/go.* "$module"/*.go | cksum | cut -d' ' -f1)-$platform${tags:+-$tags}
  ln -sfn "$store/$program" "$folder/$program"
  if [ -x "$store/$program" ]; then return; fi
  mkdir -p "$store"
  local partial=$store/.$program.$$ # two scripts may build it at once
  say "building $program; a cold build takes about $minutes min on two cores, later ones seconds"
  (
    cd "$module"
    CGO_ENABLED=0 exec go build -trimpath -tags "${tags:-}" -ldflags "$ldflags" -o "$partial" "$package"
  ) &
  local pid=$!
  # shellcheck disable=SC2064 # these values, when the script is ended
  trap "kill $pid 2>/dev/null; rm -f '$partial'" EXIT
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    if [ $(((SECONDS - started) % 30)) -eq 29 ]; then say "building $program, $((SECONDS - started)) s so far"; fi
  done
  wait "$pid"
  mv "$partial" "$store/$program"
  trap - EXIT
  say "built $program in $((SECONDS - started)) s"
}

kubernetes() {
  build kubernetes "$1" "$2" "k8s.io/kubernetes/cmd/$2" -X "k8s.io/component-base/version.gitVersion=$version"
}
version=$(cd kubernetes && go list -m -f '{{.Version}}' k8s.io/kubernetes)

api() {
  if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    for program in etcd kube-apiserver kubectl; do
      if [ ! -x "$KUBEBUILDER_ASSETS/$program" ]; then
        say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $program; complete the folder or unset the variable"
        exit 1
      fi
      ln -sfn "$KUBEBUILDER_ASSETS/$program" "$folder/$program"
    done
  else
    build etcd 1 etcd .
    kubernetes 8 kube-apiserver
    kubernetes 1 kubectl
  fi
  build cert-manager 2 cert-manager .
  copy cert-manager-crds cert-manager github.com/cert-manager/cert-manager deploy/crds
}

node() {
  kubernetes 2 kube-controller-manager
  kubernetes 1 kube-scheduler
  kubernetes 1 kubelet
  kubernetes 1 kube-proxy
  local containerd=github.com/containerd/containerd/v2/cmd
  build containerd 2 containerd $containerd/containerd
  build containerd 1 containerd-shim-runc-v2 $containerd/containerd-shim-runc-v2
  build containerd 1 ctr $containerd/ctr
  build coredns 2 coredns .
}

monitoring() {
  tags=slicelabels build thanos 3 promtool github.com/prometheus/prometheus/cmd/promtool
}

products() {
  build minio 3 minio github.com/minio/minio
  # Thanos reads Prometheus' labels as slices, and crashes on other forms.
  tags=slicelabels build thanos 3 thanos github.com/thanos-io/thanos/cmd/thanos
  tags=slicelabels build thanos 4 prometheus github.com/prometheus/prometheus/cmd/prometheus
  build tempo 5 tempo github.com/grafana/tempo/cmd/tempo
  build telemetrygen 1 telemetrygen github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen
}

more() {
  build tempo-operator 2 tempo-operator github.com/grafana/tempo-operator/cmd
  copy tempo-operator-config tempo-operator github.com/grafana/tempo-operator config/crd/bases config/rbac/role.yaml
  build trust-manager 2 trust-manager github.com/cert-manager/trust-manager/cmd/trust-manager
  copy trust-manager-crds trust-manager github.com/cert-manager/trust-manager deploy/crds/trust.cert-manager.io_bundles.yaml
  build loki 4 loki github.com/grafana/loki/v3/cmd/loki
  build mimir 4 mimir github.com/grafana/mimir/cmd/mimir
}

# copy NAME MODULE UPSTREAM PATH...: copies YAML files of an upstream module
# into a folder of that name.
copy() {
  local name=$1 source
  source=$(cd "$2" && go mod download "$3" && go list -m -f '{{.Dir}}' "$3") # no build may have needed it
  rm -rf "${folder:?}/$name"
  mkdir -p "$folder/$name"
  for path in "${@:4}"; do
    if [ -d "$source/$path" ]; then path=$path/*.yaml; fi
    # shellcheck disable=SC2086 # a pattern
    cp -f "$source"/$path "$folder/$name/"
  done
  chmod -R u+w "$folder/$name"
}

for group in $groups; do
  case $group in
    api | monitoring | node | products | more) "$group" ;;
    *)
      say "unknown group \"$group\"; there are api, monitoring, node, products and more"
      exit 2
      ;;
  esac
done
echo "$folder"
