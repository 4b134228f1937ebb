# Every verb sets up what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-fast bench bench-growth faults fuzz check format proto clients lock clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment with the locked dependencies

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY) ## start everything, log one event, serve until Ctrl-C
	@exec $(BIN)/python -m deploy.local run $(if $(PORT),--ingress-port $(PORT))

demo: $(READY) ## log 200 different events, wait until each is where it belongs, print the count
	@exec $(BIN)/python -m deploy.local demo

# Three workers on two cores: tests wait for processes, emulators and each other's commits.
test: $(READY) ## every test, emulators included, with branch coverage and its floor (pyproject.toml)
	$(BIN)/python -m pytest -n 3 --dist worksteal --cov --cov-report=term:skip-covered

test-fast: $(READY) ## unit and contract tests, as far as they need no emulators
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not emulators and not processes" tests/unit tests/contract

bench: $(READY) ## the service beside its peers and limits (about 17 minutes, wants wrk); ARGS="--only calls --rounds 1"
	$(BIN)/python -m tests.bench $(ARGS)

bench-growth: $(READY) ## the same few measures with up to a million rows; ARGS="--rows 10000,100000"
	$(BIN)/python -m tests.bench.growth $(ARGS)

faults: $(READY) ## every fault on real processes, counted (about 90 minutes); ARGS="--rows F2,F31 --seeds 1"
	$(BIN)/python -m tests.faults $(ARGS)

fuzz: $(READY) ## strange requests over the wire for ten minutes; SECONDS=60 for less
	FUZZ_SECONDS=$(or $(SECONDS),600) $(BIN)/python -m pytest tests/rpc/test_fuzz.py -s

check: $(READY) ## format, lint, types, generated code up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python proto/generate.py --check

format: $(READY) ## format, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(READY) ## generate shared/gen from proto/
	$(BIN)/python proto/generate.py

clients: $(READY) ## write packages for callers in Python and TypeScript to dist/clients (wants node and npm)
	$(BIN)/python -m deploy.clients.generate

lock: $(READY) ## resolve the dependencies anew into the lock files; UPGRADE=yes to the newest that the rules allow
	$(BIN)/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --group build -c requirements-dev.lock -o deploy/requirements-build.lock

clean: ## remove what the other verbs made
	rm -rf $(VENV) .local dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
