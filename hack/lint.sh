#!/usr/bin/env bash
# Runs the linters over the modules, and checks that generated files and
# module files are what their sources say.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

lint() { go tool -modfile="$root/hack/tools/go.mod" golangci-lint "$@"; }

echo "lint: golangci-lint; its first build takes some minutes" >&2
for module in . e2e hack/cluster; do
  (cd "$module" && lint run --config "$root/.golangci.yaml" ./...)
done

echo "lint: go vet, go mod tidy, shell syntax" >&2
for module in . e2e hack/cluster hack/tools/controller-gen hack/programs/etcd hack/programs/kubernetes hack/programs/cert-manager; do
  (cd "$module" && go mod tidy -diff)
done
(cd hack/programs/cert-manager && go vet ./...)
(cd hack/programs/etcd && go vet ./...)
(cd hack/programs/coredns && go vet ./...)
for script in hack/*.sh .ci/run; do bash -n "$script"; done

echo "lint: generated files" >&2
generated() { cat deploy/install*.yaml deploy/install/*.yaml pkg/api/v1alpha1/zz_generated.deepcopy.go | cksum; }
before=$(generated)
go run ./hack/generate
if [ "$before" != "$(generated)" ]; then
  echo "lint: generated files were not up to date; run make generate and commit" >&2
  exit 1
fi
