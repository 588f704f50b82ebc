# `make serve` and `make test` need nothing but Python 3.11 or newer: each sets up what is missing.
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
BASE := $(shell git rev-parse -q --verify origin/main || git rev-parse -q --verify main || echo HEAD)

.PHONY: setup serve test test-slow test-clients test-client-cpp test-client-go test-client-java test-client-rust test-client-typescript check proto bench bench-quick train-demo evaluate-demo lock lock-bench

setup: $(READY)

# torch before sam2: its build asks for it. The CUDA extension of sam2 is not needed.
$(READY): requirements.lock pyproject.toml clients/python/pyproject.toml
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	SAM2_BUILD_CUDA=0 $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps sam2==1.1.0
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e . -e clients/python
	touch $@

# The servers that the benchmark compares with.
$(BENCH_READY): $(READY) tests/bench/requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/bench/requirements.lock
	touch $@

serve: setup
	$(PY) -m featsvc up --profile demo

test: setup
	$(PY) -m pytest -m "not gpu and not slow"

test-slow: setup $(BENCH_READY)
	$(PY) -m pytest -m "slow and not gpu"

# Each client's own tests, then all of them against one server. A language without its toolchain here is left out, and says so.
test-clients: setup test-client-cpp test-client-go test-client-java test-client-rust test-client-typescript
	BUILD_CLIENTS=1 $(PY) -m pytest -rs tests/conformance

# -O1 because gRPC's headers compile slowly.
test-client-cpp:
	@if ! command -v cmake || ! command -v grpc_cpp_plugin; then echo "clients/cpp: left out, no cmake or gRPC for C++ on this machine"; else \
	cmake -S clients/cpp -B build/clients/cpp -DCMAKE_CXX_FLAGS_RELEASE=-O1 && cmake --build build/clients/cpp \
	&& ctest --test-dir build/clients/cpp --output-on-failure; fi

test-client-go: setup
	@if ! command -v go; then echo "clients/go: left out, no go on this machine"; else \
	cd clients/go && go vet ./... && go test ./... \
	&& ../../$(VENV)/bin/buf generate -o ../../build/fresh-go && diff -r gen ../../build/fresh-go/gen; fi

test-client-java:
	@if ! command -v mvn; then echo "clients/java: left out, no mvn on this machine"; else \
	cd clients/java && mvn --batch-mode --quiet package; fi

test-client-rust: setup
	@if ! command -v cargo; then echo "clients/rust: left out, no cargo on this machine"; else \
	cd clients/rust && cargo fmt --check && cargo test --target-dir ../../build/clients/rust \
	&& ../../$(VENV)/bin/buf generate -o ../../build/fresh-rust && diff -r gen ../../build/fresh-rust/gen; fi

test-client-typescript: setup
	@if ! command -v npm; then echo "clients/typescript: left out, no npm on this machine"; else \
	cd clients/typescript && npm test \
	&& ../../$(VENV)/bin/buf generate -o ../../build/fresh-typescript && diff -r src/gen ../../build/fresh-typescript/src/gen; fi

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/buf lint
	$(VENV)/bin/buf breaking --against ".git#ref=$(BASE)"

proto: setup
	$(PY) protos/generate.py
	@if ! command -v go; then echo "clients/go: left out, no go on this machine"; else \
	cd clients/go && ../../$(VENV)/bin/buf generate; fi
	@if ! command -v cargo; then echo "clients/rust: left out, no cargo on this machine"; else \
	cd clients/rust && ../../$(VENV)/bin/buf generate; fi
	@if ! command -v npm; then echo "clients/typescript: left out, no npm on this machine"; else \
	cd clients/typescript && npm run --silent generate; fi

# Figures of a busy machine mean little: nothing else should run. ARGS: --only NAME …, --repetitions N, --chart PATH.
bench: setup $(BENCH_READY)
	$(PY) -m tests.bench $(ARGS)

bench-quick: setup $(BENCH_READY)
	$(PY) -m tests.bench --quick $(ARGS)

train-demo: setup
	$(PY) -m featsvc.demo.train all

evaluate-demo: setup
	$(PY) -m featsvc.demo.evaluate

# Versions as they are installed here, without and with the benchmark's packages; torch pins its own CUDA libraries, and sam2 is
# installed by itself.
FREEZE := $(VENV)/bin/pip freeze --all --exclude-editable | grep -viE '^(pip|sam-?2|nvidia-.*|cuda-.*|triton|featsvc.*)(==| @)'
lock:
	$(FREEZE) | grep -vxFf tests/bench/requirements.lock > requirements.lock

lock-bench: $(BENCH_READY)
	$(FREEZE) | grep -vxFf requirements.lock > tests/bench/requirements.lock
