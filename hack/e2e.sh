#!/usr/bin/env bash
# Runs the tests of e2e/cluster on a whole cluster.
#
# Usage: hack/e2e.sh run [GO TEST FLAG...] | up | test [GO TEST FLAG...] | down
#   run   up, test, down; where a test fails, the end of every log and what it said
#   up    start the cluster, install the project, print the kubeconfig; again: load
#         a new build of the project into the cluster that runs
#   test  run the tests on the cluster that runs
#   down  remove the cluster and everything that it made
#
# E2E_CLUSTER=kind takes kind and its container engine; the default is a node
# on this machine, which needs root and the Debian packages that it names.
# E2E_INSTALL=1 installs those packages first.
set -euo pipefail
cd "$(dirname "$0")/.."

cluster=${E2E_CLUSTER:-local}
dir=/var/tmp/s3-tls-injector-e2e
cache=${S3_TLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/s3-tls-injector}
built=$cache/e2e
export KUBECONFIG=$dir/kubeconfig

say() { echo "e2e: $*" >&2; }

packages="runc containernetworking-plugins iproute2 iptables nftables conntrack mount"

# check tells what is missing before anything is built.
check() {
  case $cluster in
    local)
      if [ "${E2E_INSTALL:-}" = 1 ]; then
        # shellcheck disable=SC2086 # a list
        (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages) >/dev/null
      fi
      ;;
    kind)
      for program in kind docker; do
        command -v "$program" >/dev/null || { say "E2E_CLUSTER=kind needs $program"; exit 1; }
      done
      ;;
    *)
      say "unknown E2E_CLUSTER \"$cluster\"; there are local and kind"
      exit 2
      ;;
  esac
  mkdir -p "$built"
  (cd hack/cluster && go build -o "$built/cluster" .)
  if [ "$cluster" = local ]; then "$built/cluster" check; fi
}

# make_programs builds the project and what tests need beside it.
make_programs() {
  assets=$(hack/assets.sh api node products more)
  say "building the project"
  CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$built/s3-tls-injector" ./cmd/s3-tls-injector
  (cd hack/cluster && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$built/" ./pause ./probe ./tempo-launcher)
}

up() {
  check
  make_programs
  case $cluster in
    local) "$built/cluster" up --programs "$assets" --built "$built" --dir "$dir" ;;
    kind) kind_up ;;
  esac
  "$assets/kubectl" -n s3-tls-injector rollout restart deployment/s3-tls-injector >/dev/null 2>&1 || true # a build of before
  test_cluster -run '^TestInstall$' >&2
  cat <<END
export KUBECONFIG=$KUBECONFIG
export S3_TLS_ASSETS=$assets
cd e2e && go test -count=1 -v ./cluster -run TestThanos   # one of the tests, for example
END
}

kind_up() {
  mkdir -p "$dir"
  if ! kind get clusters | grep -qx s3-tls-injector-e2e; then
    kind create cluster --name s3-tls-injector-e2e --kubeconfig "$KUBECONFIG" --wait 3m
  fi
  docker exec s3-tls-injector-e2e-control-plane mkdir -p -m 777 /var/lib/e2e-volume
  "$built/cluster" images --programs "$assets" --built "$built" --dir "$dir/images"
  for tar in "$dir"/images/*.tar; do kind load image-archive --name s3-tls-injector-e2e "$tar"; done
}

test_cluster() {
  assets=${assets:-$(hack/assets.sh api node products more)}
  (cd e2e && S3_TLS_ASSETS=$assets go test -count=1 -v -timeout 60m ./cluster "$@")
}

down() {
  case $cluster in
    local) (cd hack/cluster && go build -o "$built/cluster" .) && "$built/cluster" down --dir "$dir" ;;
    kind) kind delete cluster --name s3-tls-injector-e2e && rm -rf "$dir" ;;
  esac
}

show_logs() {
  case $cluster in
    local) "$built/cluster" logs --dir "$dir" ;;
    kind) kind export logs --name s3-tls-injector-e2e "$dir/logs" && tail -n 40 "$dir"/logs/*/*.log ;;
  esac
}

# failures prints what the failed tests of a log said, so that it stands last.
failures() {
  awk '/^=== / {test = $3}
    /^# / {own = $3; sub(":$", "", own); said[own] = said[own] $0 "\n"; next}
    {said[test] = said[test] $0 "\n"}
    /^--- FAIL: / {failed[$3]}
    END {for (test in failed) printf "\n=== what %s said\n%s", test, said[test]}' "$1"
}

case ${1:-} in
  up | down) "$1" ;;
  test) shift && test_cluster "$@" ;;
  run)
    shift
    trap down EXIT
    up
    if ! test_cluster "$@" 2>&1 | tee "$dir/test.log"; then
      show_logs
      failures "$dir/test.log"
      exit 1
    fi
    ;;
  *)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
