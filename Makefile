# The commands of this project. "make help" lists them.

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
FUZZTIME ?= 20s
SOAK ?= 10000
SEED ?= 0

.PHONY: help build test soak check fuzz bench e2e docs postgres

help: ## list the commands
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## / - /'

build: ## build bin/kedge
	$(GO) build -o bin/kedge ./cmd/kedge

# The race detector watches our code and the libraries, but not the C code of
# SQLite that was translated to Go: it made the tests six times as slow.
RACE = -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc/...=-race=false -gcflags=modernc.org/memory=-race=false

# A process with the race detector waits a second before it ends, and the tests
# start more than a thousand of them.
test: postgres ## all tests, on SQLite and PostgreSQL, with the race detector
	GOTMPDIR=$${TMPDIR:-/tmp} TMPDIR=$$(sh internal/testtmp.sh) GORACE=atexit_sleep_ms=10 $(GO) test $(RACE) -p 3 -timeout 30m ./...

postgres: # the tests need PostgreSQL's programs, or KEDGE_TEST_POSTGRES
	@sh internal/store/storetest/install.sh

soak: postgres ## SOAK (10000) histories of each model on each database, SEED chooses others; 1,000 changes of pushes under load
	KEDGE_SOAK=$(SOAK) TMPDIR=$$(sh internal/testtmp.sh) $(GO) test -count 1 -timeout 0 -v -run 'Model$$' ./syncer -rapid.seed=$(SEED)
	TMPDIR=$$(sh internal/testtmp.sh) $(GO) test -count 1 -timeout 0 -v -run 'TestModel' ./subscriptions -rapid.checks=$(SOAK) -rapid.seed=$(SEED)
	KEDGE_SOAK=1000 TMPDIR=$$(sh internal/testtmp.sh) $(GO) test -count 1 -timeout 0 -v -run 'TestStrict|TestReplicas' ./subscriptions

check: ## formatting, vet, staticcheck, known vulnerabilities, go.mod and generated files
	@files=$$(gofmt -l .); test -z "$$files" || { echo "$$files"; echo "run gofmt -w on the files above"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	@$(MAKE) --no-print-directory generated
	@sh internal/vulncheck.sh "$(GO)" "$(GOVULNCHECK)"

.PHONY: generated
generated: # what is generated must be current
	$(GO) run ./cmd/kedge config schema | diff -u configs/kedge.schema.json - || { echo "run make docs"; exit 1; }
	rm -rf .docs-check && $(GO) run ./internal/docgen .docs-check && diff -ru docs/cli .docs-check; s=$$?; rm -rf .docs-check; exit $$s

fuzz: ## each fuzz target for FUZZTIME (20s)
	@sh internal/fuzz.sh "$(GO)" "$(FUZZTIME)"

bench: ## ratios of kedge to the least programs that do the same work
	$(GO) run ./bench

e2e: ## checks with programs that are not ours, from npm: a CSDL converter, two OData servers, a JSON Schema validator, verifiers of webhooks
	@command -v npm >/dev/null || { echo "make e2e needs npm with Node.js 20 or later; on Debian: sudo apt-get install nodejs npm"; exit 1; }
	cd e2e && npm ci --no-audit --no-fund
	$(GO) test -tags e2e -count 1 ./e2e

docs: ## write docs/cli and configs/*.schema.json anew
	$(GO) run ./cmd/kedge config schema > configs/kedge.schema.json.new && mv configs/kedge.schema.json.new configs/kedge.schema.json
	$(GO) run ./cmd/kedge config schema --mapping > configs/mapping.schema.json.new && mv configs/mapping.schema.json.new configs/mapping.schema.json
	rm -rf docs/cli && $(GO) run ./internal/docgen docs/cli
