# Two commands do everything on a machine with Go and Node:
#
#   make run     build, and run the whole demo on 127.0.0.1
#   make test    every check that the project must pass
#
# The rest: make help

GO          ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
GOTESTSUM   := gotest.tools/gotestsum@v1.13.0
GUEST       := wasm/dist/guest.wasm
BINARY      := bin/ucedge
# What ships is static and has no DWARF, which would take a ninth of a first
# build; stack traces, profiles and symbols need none. A compiler that may fill
# 400 MiB before it collects garbage is faster by a sixteenth.
BUILD       := GOGC=off GOMEMLIMIT=400MiB CGO_ENABLED=0 $(GO) build -trimpath -gcflags=all=-dwarf=false
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
GUEST_SRC   := $(shell find core snapshot wasm -name '*.go' -not -name '*_test.go' 2>/dev/null) wasm/guest/default.pgo go.mod
FUZZTIME    ?= 30s

WORKER      := edge/worker
MODULES     := $(WORKER)/node_modules/.package-lock.json
BUNDLE      := dist/worker/index.js
BUNDLE_SRC  := $(shell find $(WORKER)/src -name '*.ts') edge/web/index.html wrangler.toml
WRANGLER    := WRANGLER_SEND_METRICS=false CLOUDFLARE_CF_FETCH_ENABLED=false CI=true node $(WORKER)/node_modules/wrangler/bin/wrangler.js

.PHONY: all help run build parts modules standard guest test check unit race fuzz vuln compare bench e2e clean \
	worker worker-bundle worker-dev worker-dry-run bench-worker

all: build

help:
	@sed -n 's/^#: //p' $(MAKEFILE_LIST)

#: make run        build, start origin and edge with demo data, print what to try; Ctrl-C stops
run: build
	$(BINARY) run

#: make build      guest and binary: bin/ucedge
build:
	@$(MAKE) --no-print-directory -j3 parts
	$(BUILD) -ldflags '-w -X main.version=$(VERSION)' -o $(BINARY) ./cmd/ucedge

# At first modules have to arrive: meanwhile compile what needs none of them.
parts: $(GUEST) modules standard

modules:
	@$(GO) list -deps ./cmd/ucedge >/dev/null

standard:
	@$(BUILD) crypto/x509

#: make guest      the WebAssembly guest: wasm/dist/guest.wasm
guest: $(GUEST)

$(GUEST): $(GUEST_SRC)
	GOOS=wasip1 GOARCH=wasm $(BUILD) -buildmode=c-shared -ldflags='-s -w' -o $@ ./wasm/guest

#: make profile    measure again what the guest's compiler should inline (needs UCEDGE_DATA)
.PHONY: profile
profile:
	$(GO) test -c -trimpath -o bin/edge.test ./edge
	cd edge && ../bin/edge.test -test.run xxx -test.bench '(Answer|Exchange)/native' -test.cpuprofile ../bin/edge.prof
	$(GO) run ./bench/suite -only lookup -out '' -profile bin/probe.prof
	$(GO) tool pprof -proto bin/edge.prof bin/probe.prof > wasm/guest/default.pgo

#: make test       everything CI runs; the last lines count the tests
test: check worker race unit

check: $(GUEST)
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOOS=wasip1 GOARCH=wasm $(GO) vet ./wasm/guest
	$(GO) run $(STATICCHECK) ./...

#: make unit       the Go tests, the suite against workerd and Deno among them
unit: $(GUEST) $(BUNDLE)
	$(GO) run $(GOTESTSUM) --format pkgname -- ./...

#: make race       what runs at once, under the race detector
race: $(GUEST)
	$(GO) test -race -short ./edge ./edge/h2 ./origin ./origin/api ./origin/ledger ./origin/publish ./origin/routes ./origin/state

#: make fuzz       every fuzz target for FUZZTIME each (default 30s): before a release, and after a change to a decoder
fuzz:
	FUZZTIME=$(FUZZTIME) bench/fuzz.sh

#: make vuln       known vulnerabilities in what we depend on; asks the vulnerability database
vuln:
	$(GO) run $(GOVULNCHECK) ./...

#: make e2e        200 deaths of an origin at random instants, with an edge that follows; an edge beside a real Postfix
e2e: $(GUEST)
	UCEDGE_CRASH_ROUNDS=200 $(GO) test -count=1 -timeout 30m -run 'TestCrash|TestPostfix' -v ./cmd/ucedge

#: make compare    ucedge against rbldnsd on the same zone files
compare:
	$(GO) run ./bench/compare

#: make bench      sizes, times and throughput, as data and as a table
bench: build
	$(GO) run ./bench/suite
	$(GO) run ./bench/origin

#: make worker     the CDN edge: types, lint, and its tests inside workerd
worker: $(MODULES) $(GUEST)
	@mkdir -p $(WORKER)/dist && cp $(GUEST) edge/web/index.html $(WORKER)/dist/
	$(GO) run ./$(WORKER)/test/fixtures $(WORKER)/dist
	cd $(WORKER) && npx --no-install tsc --noEmit && npx --no-install eslint . && npx --no-install vitest run

#: make worker-bundle   what would be deployed: dist/worker
worker-bundle: $(BUNDLE)

$(MODULES): $(WORKER)/package-lock.json
	cd $(WORKER) && npm ci --no-audit --no-fund
	@touch $@

$(BUNDLE): $(MODULES) $(GUEST) $(BUNDLE_SRC)
	rm -rf dist/worker && mkdir -p dist
	$(WRANGLER) deploy --dry-run --env= --outdir dist/worker > dist/worker.txt || { cat dist/worker.txt; exit 1; }
	@touch $@

#: make worker-dry-run  the same, prints the size of the upload, which must stay below 1.5 MB
worker-dry-run: $(BUNDLE)
	@awk '/gzip:/ { print; size = $$(NF - 1) } END { if (size == 0 || size > 1536) { print "the upload is not below 1536 KiB"; exit 1 } }' dist/worker.txt

#: make worker-dev      the worker in wrangler dev, with the demo's zones in a local R2
worker-dev: $(MODULES) build
	node $(WORKER)/dev.mjs

#: make bench-worker    start, memory and throughput of the worker on workerd and Deno
bench-worker: $(BUNDLE) build
	node bench/worker.mjs

clean:
	rm -rf bin dist $(GUEST)
