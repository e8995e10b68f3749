# Every target works from a clean clone with Go and make. `make` lists them.
SHELL := bash
.DEFAULT_GOAL := help
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 30s
# The race detector needs a C compiler; without one the tests run without it.
RACE = $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Show the injection on a real API server (builds one the first time)
	@assets=$$(hack/assets.sh) && cd e2e && $(GO) run ./demo --assets="$$assets" --source=..

.PHONY: build
build: ## Build both programs into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...

.PHONY: test
test: test-unit test-api ## Run all tests

.PHONY: test-unit
test-unit: ## Run the tests that need no API server, with the race detector where there is a C compiler
	$(GO) test $(RACE) ./...

.PHONY: test-api
test-api: ## Run the tests on a real API server with real cert-manager controllers
	@assets=$$(hack/assets.sh api monitoring) && cd e2e && S3_TLS_ASSETS="$$assets" $(GO) test -count=1 $$($(GO) list ./... | grep -v /e2e/cluster)

.PHONY: e2e
e2e: ## Run Thanos, Tempo, Loki and Mimir against S3 on a whole cluster of one node (root, or E2E_CLUSTER=kind)
	hack/e2e.sh run

.PHONY: e2e-up
e2e-up: ## Start that cluster with the project in it, and leave it running
	hack/e2e.sh up

.PHONY: e2e-down
e2e-down: ## Remove that cluster and all that it made
	hack/e2e.sh down

.PHONY: fuzz
fuzz: ## Fuzz the core, the judgement of CAs, the reader of configurations, the webhook and the editor of manifests, FUZZTIME each
	$(GO) test ./pkg/inject -run='^$$' -fuzz=FuzzDecide -fuzztime=$(FUZZTIME)
	$(GO) test ./pkg/ca -run='^$$' -fuzz=FuzzParse -fuzztime=$(FUZZTIME)
	$(GO) test ./pkg/storageconfig -run='^$$' -fuzz=FuzzParse -fuzztime=$(FUZZTIME)
	$(GO) test ./pkg/manifest -run='^$$' -fuzz=FuzzApply -fuzztime=$(FUZZTIME)
	$(GO) test ./webhook -run='^$$' -fuzz=FuzzServeHTTP -fuzztime=$(FUZZTIME)
	$(GO) test ./webhook -run='^$$' -fuzz=FuzzDecode -fuzztime=$(FUZZTIME)
	cd e2e && $(GO) test ./validation -run='^$$' -fuzz=FuzzStaysValid -fuzztime=$(FUZZTIME)

.PHONY: bench
bench: ## Measure the server beside a bare one and the usual handler, on a real API server too, and draw its growth (about 6 min)
	@assets=$$(hack/assets.sh) && cd e2e && $(GO) build -o ../bin/ ./speed && ../bin/speed --assets="$$assets" --out=speed/results.json
	@set -o pipefail; $(GO) test -run='^$$' -bench=. -benchmem ./webhook ./pkg/inject | tee bin/bench.txt
	$(GO) run ./hack/charts e2e/speed <bin/bench.txt

.PHONY: bench-policies
bench-policies: ## Measure 200 policies beside 5,000 namespaces and 20,000 pods on a real API server (about 10 min)
	@assets=$$(hack/assets.sh) && cd e2e && S3_TLS_ASSETS="$$assets" $(GO) test -run='^$$' -bench=. -benchtime=1x -timeout=60m ./scale

.PHONY: assets
assets: ## Build etcd, kube-apiserver, kubectl and cert-manager, and print their folder
	@hack/assets.sh

.PHONY: generate
generate: ## Write the generated files
	$(GO) run ./hack/generate

.PHONY: update
update: ## Rewrite the golden files of the tests
	$(GO) test ./pkg/inject ./pkg/cli -update

.PHONY: lint
lint: ## Run the linters, and check that generated files are up to date
	hack/lint.sh

.PHONY: krew
krew: ## Build archives of kubectl s3-tls for every platform, and a manifest for krew, into dist/
	hack/krew.sh dist $(VERSION)

.PHONY: image
image: ## Build the container image with docker
	docker build -t s3-tls-injector/s3-tls-injector:$(VERSION) .

.PHONY: clean
clean: ## Remove what was built here
	rm -rf bin
