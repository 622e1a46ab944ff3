# Everything that people and CI do with this repository. `make help` lists it.
# It needs Go, git and, for what runs in the bed, a Debian host or the packages
# that the bed names.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/lvme/lvme/driver.version=$(VERSION)
# The agent enters its host's namespaces, and tests enter the bed: both need
# binaries that bring everything with them.
STATIC := CGO_ENABLED=0

GOLANGCI_VERSION := v2.15.0
GOLANGCI := bin/tools/golangci-lint-$(GOLANGCI_VERSION)
HELM_VERSION := v4.3.1
HELM := bin/tools/helm-$(HELM_VERSION)

# The race detector needs a C compiler; without one the tests run all the same.
RACE := $(if $(shell command -v cc gcc 2>/dev/null),-race,)
FUZZTIME ?= 20s
# Arguments for go test, as in: make test-real REAL=./volume TESTFLAGS='-run TestReal/thin'
TESTFLAGS ?=

# Packages with tests that run in a node of the bed, each in one of its own, and
# packages with tests that drive nodes from outside. internal/arch fails when one
# is missing here.
REAL ?= ./drive ./internal/blockdev ./internal/hostns ./internal/mount ./lvm ./node ./volume ./test/data ./sanity
OUTSIDE ?= $(if $(filter file,$(origin REAL)),./test/data ./test/cluster ./test/cluster/plane ./test/control ./test/torture ./test/bench)
REALRUN := ^Test(Real|Bed|Enter)
# Those from outside that every change runs. The others take minutes each: test-full.
NODETESTS ?= PowerCut|Reboot|Torture
# Which rounds of csi-sanity, and how long the data tests: all and full in test-full.
export LVME_SANITY ?= thin-mount
export LVME_DATA ?= short
# How many nodes at a time, and what each has. A node computes on about one core.
BEDJOBS ?= 2
BEDFLAGS ?= --drives 3 --size 4G
# These write and read whole drives, several times over: small ones do.
SMALL := ./volume ./test/data
SMALLFLAGS ?= --drives 2 --size 2G
INBED = $(STATIC) go test -p $(BEDJOBS) -count 1 -run '$(REALRUN)' -exec '$(CURDIR)/bin/bed exec $(1)'
OUTOFBED = LVME_TESTS=bed go test -p 1 -count 1

# $(call real,TIMEOUT): all of REAL. csi-sanity tells how many specs it ran.
define real
$(if $(filter-out ./sanity $(SMALL),$(REAL)),$(call INBED,$(BEDFLAGS)) -timeout $(1) $(TESTFLAGS) $(filter-out ./sanity $(SMALL),$(REAL)))
$(if $(filter $(SMALL),$(REAL)),$(call INBED,$(SMALLFLAGS)) -timeout $(1) $(TESTFLAGS) $(filter $(SMALL),$(REAL)))
$(if $(filter ./sanity,$(REAL)),$(call INBED,$(BEDFLAGS)) -timeout $(1) $(TESTFLAGS) -v ./sanity)
endef

##@ Build

.PHONY: build
build: ## the static binary bin/lvme
	$(STATIC) go build -trimpath -ldflags '$(LDFLAGS)' -o bin/lvme ./cmd/lvme

.PHONY: bed
bed: bin/bed ## the image of the virtual node, from Debian packages; kept in a cache
	bin/bed build

.PHONY: bin/bed bin/cluster bin/e2e
bin/bed bin/cluster: bin/%:
	@$(STATIC) go build -o $@ ./test/$*/cmd/$*

bin/e2e:
	@$(STATIC) go build -o $@ ./test/e2e

##@ Cluster

# As in: make cluster CLUSTERFLAGS='--nodes 3 --drives 4'
CLUSTERFLAGS ?=

.PHONY: cluster
cluster: bin/cluster ## a Kubernetes of two virtual bare-metal nodes with lvme on it, which stays up
	bin/cluster $(CLUSTERFLAGS) up

.PHONY: cluster-build
cluster-build: bin/cluster ## only build what it and its tests consist of: Kubernetes, sidecars, the nodes' image
	bin/cluster build
	go run ./test/cluster/parts/cmd/parts e2e.test

.PHONY: cluster-down
cluster-down: bin/cluster ## end it
	bin/cluster down

##@ Show

.PHONY: demo
demo: ## boot a node with two NVMe drives and play all of lvme on it
	go run ./test/demo

.PHONY: footprint
footprint: ## what an agent at rest with 100 volumes costs: LVM commands, memory, CPU
	go run ./test/footprint

# As in: make bench BENCHFLAGS='-rounds 3 -seconds 1'
.PHONY: bench
bench: ## what each layer between drive and file costs, the drive throttled and not: hours; tables in out/bench
	go run ./test/bench $(BENCHFLAGS)

# As in: make -s fleet FLEETFLAGS='-agents 100 -volumes 3000 -o json'
.PHONY: fleet
fleet: ## what the router costs before 1,000 simulated agents with 30,000 volumes, and with dead ones
	go run ./test/fleet $(FLEETFLAGS)

# As in: make -s bench-control CONTROLFLAGS='-volumes 10,1000 -rounds 5 -o json'
.PHONY: bench-control
bench-control: ## what the agent's verbs cost beside LVM's own commands, with 10 to 5,000 volumes: hours
	go run ./test/verbs $(CONTROLFLAGS)

##@ Test

.PHONY: test
test: test-unit test-real ## what must pass before a commit: half an hour on two cores

.PHONY: test-unit
test-unit: $(HELM) ## all that needs no drives: unit tests, and everything on the fake LVM
	@[ -n '$(RACE)' ] || echo 'no C compiler here: the tests run without the race detector'
	go test $(RACE) $(TESTFLAGS) ./...
	@go test $(RACE) -v -run '^TestFake$$' ./sanity | grep -E '^(sanity|  skipped)' # how many specs of csi-sanity

.PHONY: test-real
test-real: bed ## the tests on real drives and real LVM, in the bed
	$(call real,40m)
	$(if $(OUTSIDE),$(OUTOFBED) -timeout 20m -run '^TestNode($(NODETESTS))' $(OUTSIDE))

.PHONY: test-full
test-full: export LVME_SANITY := all
test-full: export LVME_DATA := full
test-full: test-unit bed ## the whole matrix in the bed, and the bed itself; an hour and more
	$(call real,60m)
	$(OUTOFBED) -timeout 60m $(TESTFLAGS) $(OUTSIDE) ./test/bed

# As in: make e2e E2EFLAGS='-stages walk'
E2EFLAGS ?=

.PHONY: e2e
e2e: bin/cluster bin/e2e ## the walk-through and a handful of Kubernetes' storage tests, on a cluster of two nodes
	bin/e2e -stages walk,specs,faults $(E2EFLAGS)

.PHONY: e2e-faults
e2e-faults: bin/cluster bin/e2e ## break the cluster in every way that is known, and count what is lost
	bin/e2e -stages faults -full -budget 2h $(E2EFLAGS)

.PHONY: e2e-full
e2e-full: bin/cluster bin/e2e ## all of Kubernetes' storage tests that apply, on ext4 and XFS, and all faults: hours
	bin/e2e -stages walk,faults,specs -full -fs ext4,xfs -budget 24h -report out/e2e-full.md $(E2EFLAGS)

.PHONY: torture crash-table
torture: ## torment a node: random calls, killed agents and commands, power cuts; takes SEED, TIME, N (steps)
	go run ./test/torture -v $(if $(SEED),-seed $(SEED)) $(if $(TIME),-time $(TIME)) $(if $(N),-steps $(N))
crash-table: ## every death of an agent or its command, in memory and on real LVM: hours
	LVME_DEATHS=all go test -count 1 -timeout 30m -v -run '^TestDeaths$$' ./test/torture/walk
	go run ./test/torture -v -deaths -nodes $(BEDJOBS)

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (20s)
	@grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
	    echo "== $$target in $$(dirname "$$file") for $(FUZZTIME)"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x "./$$(dirname "$$file")"; \
	  done; \
	done

.PHONY: lint
lint: $(GOLANGCI) ## formatting, vet, go.mod, and the linters of .golangci.yml
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	  [ -z "$$unformatted" ] || { echo "not formatted, run gofmt -w:"; echo "$$unformatted"; exit 1; }
	go vet ./...
	go mod tidy -diff
	$(GOLANGCI) run ./...

$(GOLANGCI):
	GOBIN='$(CURDIR)/bin/tools' go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv bin/tools/golangci-lint $@

##@ Deploy

# Name of the image, and what it is for.
IMAGE ?= lvme/lvme:$(VERSION)
ARCHES ?= amd64 arm64

.PHONY: image
image: ## the container image out/lvme-image.tar, reproducible and without a container daemon
	@mkdir -p out
	for arch in $(ARCHES); do \
	  $(STATIC) GOARCH=$$arch go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o "out/lvme-$$arch" ./cmd/lvme; done
	go run ./deploy/image --ref '$(IMAGE)' --version '$(VERSION)' --revision "$$(git rev-parse HEAD)" --created "$$(git log -1 --format=%ct)" \
	  $(foreach arch,$(ARCHES),--binary $(arch)=out/lvme-$(arch)) --output out/lvme-image.tar

.PHONY: chart
chart: $(HELM) ## lint and test the Helm chart, and pack it into out
	$(HELM) lint --strict deploy/chart/lvme
	go test -count 1 ./deploy
	$(HELM) package --destination out deploy/chart/lvme

.PHONY: manifests
manifests: $(HELM) ## deploy/manifests/lvme.yaml, the chart rendered
	go test -count 1 -run '^TestManifests$$' ./deploy -update

$(HELM):
	GOBIN='$(CURDIR)/bin/tools' go install helm.sh/helm/v4/cmd/helm@$(HELM_VERSION)
	mv bin/tools/helm $@

##@ Else

.PHONY: clean
clean: ## remove what was built here; the bed's cache stays (bin/bed clean)
	rm -rf bin out

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z][a-z0-9-]*:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
