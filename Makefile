# `make serve` and `make test` need nothing but Python 3.11 or newer: each sets up what is missing.
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
# The contract that callers were promised.
CONTRACT := protos/contract-v1.binpb

.PHONY: help setup serve atheris audit test test-slow test-clients test-client-cpp test-client-go test-client-java test-client-rust test-client-typescript test-client-web test-page check proto contract bench bench-quick chaos gpu-check gpu-carry test-older train-demo evaluate-demo wheels web screenshots lock lock-bench diagrams check-deploy

# A target with ## behind it is told here.
help:
	@echo "make TARGET, where TARGET is one of:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 18

setup: $(READY)  ## a virtual environment with all that is needed; the others do it by themselves

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

serve: setup  ## CLIP, DINO and SAM2 on the demo models, until Ctrl-C
	$(PY) -m featsvc up --profile demo

# Three at a time, each with servers of its own, on the two processors that the tests count on: one often waits. tests/shares.py says
# what stays together.
PROCESSES := 3
PYTEST = $(PY) -m pytest --numprocesses $(PROCESSES) --dist loadfile --max-worker-restart 0

test: setup  ## the tests
	$(PYTEST) -m "not gpu and not slow" $(ARGS)

# Those of tests/conformance are run by test-clients, which builds the clients of other languages for them. Ray starts processes of its
# own: while its tests run there is one less of ours, and what waits most is beside them.
WITH_RAY := tests/batch tests/bench tests/chaos tests/cluster
test-slow: setup $(BENCH_READY) atheris  ## those that take longer
	$(PYTEST) --numprocesses 2 -m "slow and not gpu" $(WITH_RAY)
	$(PYTEST) -m "slow and not gpu" $(addprefix --ignore ,tests/conformance $(WITH_RAY))

atheris: setup  ## the fuzzer of guided inputs, where it has files for this machine
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: atheris==3.0.0 || echo "no atheris for this machine"

# What most GPU machines have: another Python, and a torch older than the lock's, which wants an older setuptools. Either may be given, as
# in OLDER_TORCH="torch==2.5.1 torchvision==0.20.1 setuptools<82"; each pair has an environment of its own.
OLDER_PYTHON := $(firstword $(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python3.12) python3.12)
OLDER_TORCH := torch==2.11.0 torchvision==0.26.0 setuptools<82
OLDER_TESTS := tests/engines tests/pool
OLDER_NAME = $(shell $(OLDER_PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null) $(OLDER_TORCH)
OLDER := build/older/$(shell echo '$(OLDER_NAME)' | tr -cs '[:alnum:].\n' -)
test-older:  ## engines and pool on Python 3.12 and an older torch, or on OLDER_PYTHON and OLDER_TORCH
	@if ! $(OLDER_PYTHON) -c ''; then echo "left out, no $(OLDER_PYTHON) on this machine; OLDER_PYTHON=PATH names another"; else \
	$(MAKE) --no-print-directory $(OLDER)/.ready \
	&& $(OLDER)/bin/python -m pytest -m "not gpu and not slow" $(OLDER_TESTS); fi

$(OLDER)/.ready: requirements.lock pyproject.toml clients/python/pyproject.toml
	$(OLDER_PYTHON) -m venv $(OLDER)
	grep -vE '^(torch|torchvision|setuptools|sympy)==' requirements.lock > $(OLDER)/requirements.txt
	$(OLDER)/bin/pip install --quiet --disable-pip-version-check -r $(OLDER)/requirements.txt $(patsubst %,'%',$(OLDER_TORCH))
	SAM2_BUILD_CUDA=0 $(OLDER)/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps sam2==1.1.0
	$(OLDER)/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e . -e clients/python
	touch $@

# Each client's own tests, two languages at a time and what builds longest first, then all of them against servers of ours. A language
# without its toolchain here is left out, and says so.
OWN_TESTS := $(addprefix test-client-,cpp rust java go typescript web)
IN_ONE_PIECE := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
test-clients: setup  ## the clients of all languages whose tools are here
	$(MAKE) --no-print-directory --jobs 2 $(IN_ONE_PIECE) $(OWN_TESTS)
	BUILD_CLIENTS=1 $(PYTEST) tests/conformance

# -O1 because gRPC's headers compile slowly.
test-client-cpp:
	@if ! command -v cmake || ! command -v grpc_cpp_plugin; then echo "clients/cpp: left out, no cmake or gRPC for C++ on this machine"; else \
	cmake -S clients/cpp -B build/clients/cpp -DCMAKE_CXX_FLAGS_RELEASE=-O1 && cmake --build build/clients/cpp --parallel 2 \
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

# The page: its types, lint and unit tests, and whether what is checked in is what its sources and the documents make.
FRESH := build/web
test-client-web: setup
	@if ! command -v npm; then echo "clients/web: left out, no npm on this machine"; else \
	rm -rf $(FRESH) && $(PY) -m tests.web.documents $(FRESH)/documents && cd clients/web && npm test \
	&& npm run --silent types ../../$(FRESH)/documents ../../$(FRESH)/gen && diff -r src/gen ../../$(FRESH)/gen \
	&& npm run --silent build ../../$(FRESH)/page && diff -r --exclude pictures ../../rest_shim/page ../../$(FRESH)/page; fi

test-page: setup  ## the page in a real browser, with axe: needs chromium, and npm for axe
	@if ! command -v npm; then echo "axe: left out, no npm on this machine"; else cd clients/web && npm run --silent ready; fi
	$(PY) -m pytest -q -m "slow or not slow" tests/web

web: setup  ## the page, built into rest_shim/page, after a change in clients/web or of the REST bodies
	rm -rf $(FRESH) && $(PY) -m tests.web.documents $(FRESH)/documents
	cd clients/web && npm run --silent types ../../$(FRESH)/documents && npm run --silent build

screenshots: setup  ## the page's main states as pictures, and the README's: look at them
	$(PY) -m tests.web.screenshots

check: setup  ## linters, types, and the contract against what was promised
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/buf lint
	$(VENV)/bin/buf breaking --against $(CONTRACT)

# What is missing of these programs is said, and left out: go install helm.sh/helm/v3/cmd/helm@latest github.com/yannh/kubeconform/cmd/kubeconform@latest
check-deploy: setup  ## the chart for Kubernetes, rendered and checked by helm and kubeconform
	PATH="$$PATH:$$(go env GOPATH 2>/dev/null)/bin" $(PY) -m pytest tests/packaging/test_kubernetes.py

proto: setup  ## generated code, after a change in protos/
	$(PY) protos/generate.py
	@if ! command -v go; then echo "clients/go: left out, no go on this machine"; else \
	cd clients/go && ../../$(VENV)/bin/buf generate; fi
	@if ! command -v cargo; then echo "clients/rust: left out, no cargo on this machine"; else \
	cd clients/rust && ../../$(VENV)/bin/buf generate; fi
	@if ! command -v npm; then echo "clients/typescript: left out, no npm on this machine"; else \
	cd clients/typescript && npm run --silent generate; fi

# Promises what protos/ adds to the contract: refused where it takes something back.
contract: setup  ## promise what was added to the contract
	$(VENV)/bin/buf breaking --against $(CONTRACT)
	$(VENV)/bin/buf build --exclude-source-info -o $(CONTRACT)

# Figures of a busy machine mean little: nothing else should run. ARGS: --only NAME …, --repetitions N, --chart PATH.
bench: setup $(BENCH_READY)  ## the benchmark, on a machine that does nothing else
	$(PY) -m tests.bench $(ARGS)

bench-quick: setup $(BENCH_READY)  ## the same in minutes, with rougher figures
	$(PY) -m tests.bench --quick $(ARGS)

# docs/reliability.md has what is promised. ARGS: NAME …, --long, --times N, --write.
# atheris, which guides one of the trials, has files for few machines: without it that one is left out, and says so.
chaos: setup $(BENCH_READY) atheris  ## kills, hangs and bad input, and what became of the answers
	BUILD_CLIENTS=1 $(PY) -m tests.chaos $(ARGS)

# docs/gpu.md says how to run it where there is no network. ARGS: --only NAME …, --within SECONDS, --dry for a trial without a GPU.
PYTHON := $(PY)
gpu-check: $(if $(filter $(PY),$(PYTHON)),setup)  ## all that only a GPU can show, in a quarter of an hour
	$(PYTHON) -m tests.gpu.check $(ARGS)

gpu-carry: setup  ## wheels for gpu-check on a machine that has torch and no network, into build/gpu/wheels
	$(PY) -m tests.gpu.wheels build/gpu/wheels

train-demo: setup  ## train the demo models anew
	$(PY) -m featsvc.demo.train all

evaluate-demo: setup  ## figures of the demo models
	$(PY) -m featsvc.demo.evaluate

# Both distributions, featsvc and featsvc-client. What an earlier build left would go into the wheels as well.
DIST := dist
wheels: setup  ## both packages, into dist/
	rm -rf build/lib build/bdist.* clients/python/build
	$(VENV)/bin/pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir $(DIST) . ./clients/python

# Versions as they are installed here, without and with the benchmark's packages; torch pins its own CUDA libraries (all of NVIDIA's but
# nvidia-ml-py), and sam2 and atheris are installed by themselves. Of these, deploy/requirements.lock has what the image needs.
FREEZE := $(VENV)/bin/pip freeze --all --exclude-editable | grep -viE '^(pip|atheris|sam-?2|nvidia-[^m].*|cuda-.*|triton|featsvc.*)(==| @)'
# The same with the hashes of all files that the index has of each, and with what torch pins by itself.
HASHED := $(VENV)/bin/uv pip compile --quiet --no-header --no-annotate --generate-hashes --python-version 3.11 --python-platform x86_64-manylinux_2_28
lock: setup  ## versions as they are installed here, for requirements.lock
	$(FREEZE) | grep -vxFf tests/bench/requirements.lock > requirements.lock
	$(PY) -m deploy.lock > deploy/requirements.lock
	$(HASHED) deploy/requirements.lock -o deploy/requirements.hashes
	echo sam2==1.1.0 | $(HASHED) --no-deps - -o deploy/sam2.hashes
	sed -n 's/^ray==/ray[data,default]==/p' tests/bench/requirements.lock \
	| $(HASHED) -c requirements.lock -c tests/bench/requirements.lock - -o deploy/ray.hashes

lock-bench: $(BENCH_READY)  ## the same of the benchmark
	$(FREEZE) | grep -vxFf requirements.lock > tests/bench/requirements.lock

# pip-audit asks PyPI, or by ARGS='--vulnerability-service osv' OSV, about each version of the lock, of sam2 and of Ray with what it needs.
# A mirror of PyPI that knows nothing of holes must not look like none: --strict fails where a package was not looked at.
AUDIT := build/audit/bin/pip-audit
AUDITED := requirements.lock deploy/sam2.hashes deploy/ray.hashes
# Without the hashes: pip-audit takes no file that has them beside one that has none.
audit: $(AUDIT)  ## known holes of the packages in the locks, where a service that knows them can be reached
	@sed -n 's/^\([A-Za-z0-9][^ ;\\]*==[^ ;\\]*\).*/\1/p' $(AUDITED) | sort -u > build/audit/packages.txt
	@$(AUDIT) --strict --no-deps --disable-pip --progress-spinner off --requirement build/audit/packages.txt $(ARGS) \
	|| { echo "audit: a package has a known hole, or what knows of holes cannot be reached from here: the lines above say which"; exit 1; }

$(AUDIT):
	python3 -m venv build/audit
	build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1

# The picture of docs/architecture.md. It bears the name that git has for its text: a test tells where it is older than that.
ARCHITECTURE := docs/architecture
diagrams:  ## the pictures of docs/
	@command -v dot > /dev/null || { echo "docs: not drawn, no dot on this machine: install Graphviz (apt-get install graphviz, brew install graphviz)"; exit 1; }
	dot -Tsvg -Gid=$$(git hash-object $(ARCHITECTURE).dot) -o $(ARCHITECTURE).svg $(ARCHITECTURE).dot
