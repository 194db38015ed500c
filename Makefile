# Every recipe stands on its own; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test model lint style bench bench-prune bench-prune-memory fuzz chaos simulate mutants install

ORLOP_SKIPS := $(CURDIR)/target/skips

# Where benches keep large repositories.
BENCH_DIR ?= $(CURDIR)/target/bench

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

setup: ## install what the tests and the demo want (Debian packages as root, S3 servers)
	dev/setup.sh install

demo: ## back up, change, back up again, restore and compare real data; S3=1 against an S3 server, KEEP=1 keeps the files
	cargo build --release --locked -p cli
	S3=$(S3) KEEP=$(KEEP) dev/demo.sh

test: export ORLOP_SKIPS := $(ORLOP_SKIPS)
test: ## formatting, lints, layering, all tests, a second of each fuzz target; the last line counts what was skipped
	@mkdir -p target && : >$(ORLOP_SKIPS)
	dev/setup.sh check
	$(MAKE) --no-print-directory style
	cargo test --workspace --locked
	FUZZ_SECONDS=1 dev/fuzz.sh || [ $$? = 75 ]
	@dev/skips.sh $(ORLOP_SKIPS)

model: ## models of the deletion protocol with large bounds: up to an hour and 6 GiB; prints state counts
	cargo test --release --locked -p tests --test models -- --include-ignored --nocapture --test-threads=1

style:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

lint: style ## formatting, clippy, the scripts, and licences of dependencies
	dev/lint.sh

bench: ## orlop beside restic, rustic, kopia and borg on the same images: hours and 45 GB in BENCH_DIR, or QUICK=1: minutes and 4 GB; RESULTS=FILE keeps the page
	cargo build --release --locked -p cli
	cargo build --release --locked -p benches --bins
	$(if $(QUICK),,target/release/limits)
	$(if $(QUICK),,cargo bench --locked -p benches)
	$(if $(QUICK),,target/release/latency --dir $(BENCH_DIR))
	@peers=(); \
	for name in restic rustic kopia borg; do \
	  if path=$$(dev/peers.sh path $$name 2>/dev/null); then peers+=(--peer "$$name=$$path"); fi; \
	done; \
	target/release/macro-bench --dir $(BENCH_DIR) $(if $(QUICK),--quick) $(if $(RESULTS),--results $(RESULTS)) "$${peers[@]}"

bench-prune: ## prune of a million chunks beside restic's, and a backup beside a prune; 25 GB in BENCH_DIR
	cargo build --release --locked -p cli
	dev/restic.sh build
	cargo run --release --locked -p benches --bin prune -- --dir $(BENCH_DIR) compare --restic "$$(dev/restic.sh path)"
	cargo run --release --locked -p benches --bin prune -- --dir $(BENCH_DIR) beside

bench-prune-memory: ## peak memory of a prune of 10^8 synthetic chunks; 25 GB in BENCH_DIR for some minutes
	cargo build --release --locked -p cli
	cargo run --release --locked -p benches --bin prune -- --dir $(BENCH_DIR) memory

chaos: ## ten minutes of a crowd that overtakes and kills each other on each S3 server, or CHAOS_SECONDS; the release binary
	ORLOP_CHAOS_SECONDS=$(or $(CHAOS_SECONDS),600) cargo test --release --locked -p tests --test chaos -- --nocapture --test-threads=1

simulate: ## a million seeds of the simulator, or SEEDS=a..b; a failure names its seed, every 10,000 say how to go on
	ORLOP_SIM_SEEDS=$(or $(SEEDS),0..1000000) cargo test --release --locked -p tests --test sim many_seeds -- --nocapture

fuzz: ## every fuzz target for FUZZ_SECONDS (30)
	dev/fuzz.sh

mutants: ## mutation testing of the crate policy: no mutant may survive
	dev/mutants.sh

install: ## install the command orlop
	cargo install --path cli --locked
