#!/usr/bin/env bash
# Runs the tests of e2e/cluster on a whole cluster.
#
# Usage: hack/e2e.sh run [GO TEST FLAG...] | up | test [GO TEST FLAG...] | down
#   run   up, test, down; where something fails, the end of every log and what the
#         failed tests said. A cluster that up left is used, and left
#   up    start the cluster, install the project, print the kubeconfig; again: load
#         a new build of the project into the cluster that runs
#   test  run the tests on the cluster that runs
#   down  remove the cluster and everything that it made
#
# E2E_CLUSTER=kind takes kind and its container engine; the default is a node
# on this machine, which needs Linux, root and the Debian packages that it names.
# E2E_INSTALL=1 installs those packages where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

cluster=${E2E_CLUSTER:-local}
dir=/var/tmp/s3-tls-injector-e2e
if [ "$cluster" != local ]; then dir=$dir-$cluster; fi
cache=${S3_TLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/s3-tls-injector}
built=$cache/e2e
export KUBECONFIG=$dir/kubeconfig KUBECACHEDIR=$dir/kubectl-cache

say() { echo "e2e: $*" >&2; }

packages="runc containernetworking-plugins iproute2 iptables nftables conntrack mount"

# check tells what is missing before anything is built.
check() {
  if [ "$(uname -s)" != Linux ]; then
    say "the images are made of Linux programs; run it on Linux"
    exit 1
  fi
  case $cluster in
    local)
      if [ "$(id -u)" != 0 ]; then
        say "a node needs root: run it as root, or on kind with E2E_CLUSTER=kind"
        exit 1
      fi
      case $(readlink -m "$cache") in
        /var/lib/* | /var/log/* | /run/*)
          say "the node has folders of its own at /var/lib, /var/log and /run; set S3_TLS_CACHE to another place than $cache"
          exit 1
          ;;
      esac
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
  if [ "$cluster" = local ] && ! "$built/cluster" check; then
    if [ "${E2E_INSTALL:-}" != 1 ]; then exit 1; fi
    say "installing $packages"
    # shellcheck disable=SC2086 # a list
    (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages) >/dev/null
    "$built/cluster" check
  fi
}

# alone refuses to work beside another run: both would change one cluster.
alone() {
  mkdir -p "$cache"
  exec 9>"$cache/e2e.lock"
  if ! flock -n 9; then
    say "another run is at work; wait for it"
    exit 1
  fi
}

# make_assets builds the programs of the cluster and prints their folder. They are of
# one version: KUBEBUILDER_ASSETS is another one's.
make_assets() {
  local groups="api node products more"
  if [ "$cluster" = kind ]; then groups="api products more"; fi
  # shellcheck disable=SC2086 # a list
  env -u KUBEBUILDER_ASSETS hack/assets.sh $groups
}

# make_programs builds the project and what tests need beside it.
make_programs() {
  assets=$(make_assets)
  say "building the project"
  CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$built/s3-tls-injector" ./cmd/s3-tls-injector
  (cd hack/cluster && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$built/" ./pause ./probe ./tempo-launcher)
}

up() {
  check
  make_programs
  case $cluster in
    local) "$built/cluster" up --programs "$assets" --built "$built" --dir "$dir" 9>&- ;; # the node keeps no lock
    kind) kind_up ;;
  esac
  "$assets/kubectl" -n s3-tls-injector rollout restart deployment/s3-tls-injector >/dev/null 2>&1 || true # a build of before
  test_cluster -run '^TestInstall$' >&2
}

kind_up() {
  local name=s3-tls-injector-e2e
  mkdir -p "$dir"
  if kind get clusters | grep -qx "$name"; then
    kind export kubeconfig --name "$name" --kubeconfig "$KUBECONFIG" 9>&-
    if ! "$assets/kubectl" get --raw=/readyz >/dev/null; then kind delete cluster --name "$name"; fi # a killed run's
  fi
  if ! kind get clusters | grep -qx "$name"; then
    kind create cluster --name "$name" --kubeconfig "$KUBECONFIG" --wait 3m 9>&-
  fi
  docker exec "$name-control-plane" mkdir -p -m 777 /var/lib/e2e-volume
  "$built/cluster" images --programs "$assets" --built "$built" --dir "$dir/images"
  for tar in "$dir"/images/*.tar; do kind load image-archive --name "$name" "$tar"; done
}

test_cluster() {
  assets=${assets:-$(make_assets)}
  (cd e2e && S3_TLS_ASSETS=$assets go test -count=1 -v -timeout 30m ./cluster "$@")
}

down() {
  case $cluster in
    local) mkdir -p "$built" && (cd hack/cluster && go build -o "$built/cluster" .) && "$built/cluster" down --dir "$dir" ;;
    kind) kind delete cluster --name s3-tls-injector-e2e && rm -rf "$dir" ;;
  esac
}

show_logs() {
  case $cluster in
    local) "$built/cluster" logs --dir "$dir" || true ;;
    kind) { kind export logs --name s3-tls-injector-e2e "$dir/logs" && tail -n 40 "$dir"/logs/*/*.log; } || true ;;
  esac
}

# failures prints what the failed tests of a log said, so that it stands last.
failures() {
  awk '/^=== / {test = $3}
    /^# [0-9:]+ / {own = $3; sub(":$", "", own); said[own] = said[own] $0 "\n"; next}
    {said[test] = said[test] $0 "\n"}
    /^ *--- FAIL: / {failed[$3]}
    END {for (test in failed) printf "\n=== what %s said\n%s", test, said[test]}' "$1"
}

run() {
  if [ ! -e "$dir/keep" ]; then trap down EXIT; fi
  if ! hack/e2e.sh prepare; then # a function would not end at its first error here
    show_logs
    exit 1
  fi
  if ! test_cluster "$@" 2>&1 | tee "$dir/test.log"; then
    show_logs
    failures "$dir/test.log"
    exit 1
  fi
}

case ${1:-} in
  up)
    alone
    up
    touch "$dir/keep"
    cat <<END
export KUBECONFIG=$KUBECONFIG
export S3_TLS_ASSETS=$assets
cd e2e && go test -count=1 -v ./cluster -run TestThanos   # one of the tests, for example
END
    ;;
  prepare) up ;; # for run
  down) down ;;
  test) shift && alone && test_cluster "$@" ;;
  run) shift && alone && run "$@" ;;
  *)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
