# What a person types. Everything a fresh machine lacks (npm packages, a browser for the tests) is installed here.
# Needs: Rust, Node 20 or later with npm, make. `make help` lists the targets.

.DEFAULT_GOAL := help
CARGO ?= cargo
NPM_CI := npm ci --no-audit --no-fund --loglevel=error
LISTEN ?= 127.0.0.1:8787
DATA ?= ./syncline-data

.PHONY: help
help: ## lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: run
run: web ## builds everything and serves the page at a printed address
	$(CARGO) build --release -p syncline-server
	./target/release/syncline serve --open --listen $(LISTEN) --data $(DATA)

.PHONY: test
test: web binary test-rust test-interop test-sdk test-browser ## installs what the tests need and runs all of them

.PHONY: web
web: web-demo/node_modules/.installed ## builds the page that the binary serves
	cd web-demo && npm run build

# Everything in one go: one set of features, so that nothing is built twice.
.PHONY: binary
binary: web
	$(CARGO) build --workspace --all-targets

.PHONY: test-rust
test-rust: binary ## unit, simulation, checker, crash and end-to-end tests in Rust
	SYNCLINE_FUZZ_SECONDS=$${SYNCLINE_FUZZ_SECONDS:-60} $(CARGO) test --workspace --no-fail-fast

.PHONY: test-interop
test-interop: binary tests/interop/node_modules/.installed ## real Yjs clients against the real binary
	cd tests/interop && npm test

.PHONY: test-sdk
test-sdk: binary web-demo/node_modules/.installed ## the TypeScript client against the real binary, the model's vectors, its size
	cd web-demo && npm test -w sdk

.PHONY: test-browser
test-browser: binary web-demo/node_modules/.installed ## a real browser drives the page
	@sh scripts/need-chromium.sh
	cd web-demo && npm test -w e2e

.PHONY: screenshot
screenshot: binary web-demo/node_modules/.installed ## takes the picture in the README anew
	@sh scripts/need-chromium.sh
	cd web-demo/e2e && node screenshot.mjs ../../docs/demo.png

.PHONY: replay
replay: binary tests/interop/node_modules/.installed ## two real authors type one text; prints what happens
	cd tests/interop && node replay.mjs

.PHONY: check
check: ## formatting, lints, docs, licences and advisories, types
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps
	@command -v cargo-deny >/dev/null || $(CARGO) install cargo-deny --version 0.20.2 --locked
	$(CARGO) deny check
	$(MAKE) web-demo/node_modules/.installed
	cd web-demo && npm run check

.PHONY: bench
bench: ## the load generator against the bare relay, release builds, JSON in target/bench.json
	$(CARGO) build --release -p syncline-server -p syncline-benches
	./target/release/load all --server-bin target/release/syncline --against relay --json target/bench.json

web-demo/node_modules/.installed: web-demo/package-lock.json
	cd web-demo && $(NPM_CI)
	touch $@

tests/interop/node_modules/.installed: tests/interop/package-lock.json
	cd tests/interop && $(NPM_CI)
	touch $@
