# `make` alone tells what there is. Nothing here needs more than Go, unless it says so.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# Without a C library the program runs anywhere, and has fewer pages of it in memory. What is tested is what is built,
# and all of it compiles once.
export CGO_ENABLED := 0

GO      ?= go
TOOLS   := $(or $(FIRN_TOOLS),$(HOME)/.cache/firn/tools)
INSTALL := deploy/tools/install.sh

# Modules of their own: clients under test and test components, which the product's go.mod need not know.
MODULES := broker/compat deploy/tools/etcd deploy/tools/versitygw

ARGS    ?=
ROUNDS  ?= 100
BITES   ?= all
SIM     ?=
SEEDS   ?= 200
MINUTES ?= 10
SEED    ?=
FUZZTIME ?= 30s
# Tests start real servers; what a busy machine makes of them must not look like a hang. Vetting has a target of its own.
TIMEOUT := -vet=off -timeout 20m

.PHONY: help run run-minio cluster build images cross test test-clients test-root test-containers race vet lint fuzz crash sim bites chaos bench bench-cluster demo-logs tools check lane-code lane-tests lane-systems clean

help: ## tell what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## build Firn and start it: a broker on 127.0.0.1:9092, all set up (ARGS="--data DIR ...")
	exec ./bin/firn dev $(ARGS)

run-minio: build ## the same with a real MinIO as the bucket
	@$(INSTALL) minio
	exec deploy/demo/minio.sh $(ARGS)

cluster: build ## three etcd members, a MinIO and three brokers on loopback, until Ctrl-C (ARGS=--remove: their data)
	@$(INSTALL) etcd minio
	exec deploy/demo/cluster.sh $(ARGS)

build: ## build ./bin/firn
	$(GO) build -o bin/firn ./cmd/firn

images: build ## scratch images of Firn, etcd and MinIO from local programs, for deploy/compose.local.yaml (needs Docker)
	@$(INSTALL) etcd etcdctl minio
	deploy/images.sh

# Nobody runs what comes of it, so no time goes into making that fast.
PLAIN := -gcflags='all=-N -l'

cross: ## compile for each machine that Firn runs on; for laptops the tests, too
	GOOS=linux GOARCH=amd64 $(GO) build -o /dev/null ./cmd/firn
	GOOS=linux GOARCH=arm64 $(GO) build $(PLAIN) -o /dev/null ./cmd/firn
	GOOS=darwin GOARCH=arm64 $(GO) build $(PLAIN) -o /dev/null ./cmd/firn
	GOOS=darwin GOARCH=arm64 $(GO) vet $(PLAIN) ./...

test: ## all Go tests, those against real MinIO, etcd and versitygw and the pure Go clients included
	@$(INSTALL) minio etcd versitygw
	$(GO) test $(TIMEOUT) ./...
	FIRN_SIM_FROM=1 FIRN_SIM_SEEDS=300 $(SIMULATE) -timeout 20m ./broker/brokertest/sim
	cd broker/compat && $(GO) test $(TIMEOUT) ./...

test-clients: ## librdkafka, kcat, Java, Python and Node clients (needs gcc, kcat, Java, Maven, Python, Node)
	@$(INSTALL) minio etcd
	broker/compat/run.sh

test-root: ## power cuts, full disks, cut networks and a short chaos (needs root, xfsprogs and nftables)
	@$(INSTALL) minio etcd
	deploy/tests/root.sh

test-containers: build ## the cluster of deploy/compose.yaml, by a Docker of its own (needs root, docker.io, docker-compose)
	@$(INSTALL) minio etcd etcdctl
	deploy/tests/containers.sh

chaos: ## MINUTES (10) of faults of every kind to a cluster at work, chosen by SEED (needs what test-root needs)
	@$(INSTALL) minio etcd
	FIRN_TEST_CHAOS_MINUTES=$(MINUTES) FIRN_SEED=$(SEED) deploy/tests/root.sh -test.run TestChaos -test.timeout 0

# What runs concurrently in one process; the search of small worlds does not. The bucket drivers and whole processes are tested without the detector,
# where they are timed by real servers.
RACY := ./broker/... ./gc ./metadata/... ./segment ./segment/batch ./segment/index ./segment/vfs/... ./tiering ./tiering/chunkcache ./tiering/objstore/mem

race: ## the tests once more under the race detector (needs gcc)
	@$(INSTALL) minio etcd
	CGO_ENABLED=1 $(GO) test -race -vet=off -timeout 40m -skip '^TestEverySmallWorld$$' $(RACY)

vet: ## go vet, the tests that only run on request included
	$(GO) vet ./...
	$(GO) vet -tags root ./...
	$(GO) vet -tags synctests ./broker/brokertest/sim
	for m in $(MODULES); do (cd $$m && $(GO) vet ./...) || exit 1; done
	cd broker/compat && CGO_ENABLED=1 $(GO) vet -tags clients ./...

lint: ## golangci-lint
	@$(INSTALL) golangci-lint
	$(TOOLS)/golangci-lint-*/golangci-lint run ./...
	cd broker/compat && CGO_ENABLED=1 $(TOOLS)/golangci-lint-*/golangci-lint run --build-tags clients ./...

fuzz: ## fuzz each decoder for FUZZTIME (30s)
	deploy/tests/fuzz.sh $(FUZZTIME)

crash: ## kill -9 under load, ROUNDS (100) times, and as many seeds of each simulation
	@$(INSTALL) minio etcd
	FIRN_CRASH_ROUNDS=$(ROUNDS) $(GO) test -count=1 -timeout 0 -run TestKilledAtRandomMoments ./cmd/firn
	FIRN_CRASH_SEEDS=$(ROUNDS) $(GO) test -count=1 -timeout 0 -run TestCrashAtEveryStep ./segment
	FIRN_SIM_SEEDS=$(ROUNDS) $(GO) test -count=1 -timeout 0 -run TestSimulation ./gc
	cd broker/compat && FIRN_CRASH_ROUNDS=$(ROUNDS) $(GO) test -count=1 -timeout 0 -run TestSaramaThroughRandomFaults .

# The clock of a simulation stands still while anybody waits for a plain mutex, so franz-go is built with its other kind.
SIMULATE := $(GO) test -tags synctests

sim: ## whole clusters in one process, under faults: SEEDS (200) of them, or one SEED until it fails again
	FIRN_SIM_SEEDS=$(SEEDS) FIRN_SEED=$(SEED) $(SIMULATE) -run TestSeeds -count=1 -v -timeout 0 ./broker/brokertest/sim

bites: ## plant bugs that real systems had, one for each hazard and more, and see that the tests find them (BITES=regexp SIM=seeds)
	FIRN_BITES='$(BITES)' FIRN_BITES_SIM=$(SIM) $(GO) test -count=1 -v -timeout 0 -run TestPlantsAreFound ./broker/brokertest/bites

bench: build ## measure Firn beside the limits of this machine, some minutes (ARGS="--rounds 5 ...")
	@$(INSTALL) minio etcd
	./bin/firn bench all $(ARGS)

bench-cluster: build ## the same for three brokers: failover, restarts, etcd away, a quarter of an hour (ARGS="--only failover")
	@$(INSTALL) etcd
	./bin/firn bench cluster $(ARGS)

demo-logs: build ## ship this machine's logs by rsyslog, archive them in MinIO, replay and compare (needs rsyslog-kafka; ARGS=--cluster)
	@$(INSTALL) minio etcd
	deploy/demo/logs.sh $(ARGS)

tools: ## fetch the pinned servers and tools that tests use
	@$(INSTALL)

# What needs a processor runs beside what waits for servers most of the time. All of it is compiled and fetched before, or
# the lanes would do that twice.
check: build tools vet ## all that CI runs
	$(MAKE) -j3 lane-code lane-tests lane-systems

lane-code: TARGETS := lint cross race
lane-code: YIELDS := nice
lane-tests: TARGETS := test
lane-systems: TARGETS := test-clients test-root test-containers
lane-code lane-tests lane-systems:
	@for t in $(TARGETS); do \
		echo "check: $$t begins at $$(date +%T)"; $(YIELDS) $(MAKE) $$t || exit 1; echo "check: $$t ends at $$(date +%T)"; \
	done

clean: ## remove what was built here; the tools stay in their cache
	rm -rf bin
