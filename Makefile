# wakumail: make serve | test | check | wheels | bench | demo.
# Packages go into .venv, compiled modules beside the sources.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KERNELS := $(shell find ext/wakumail -name '*.p[yx]*' -o -name '*.h') ext/liblmdb.txt
STUBBED := $(subst /,.,$(patsubst src/%.pyi,%,$(shell find src/wakumail -name '*.pyi')))
DATADIR ?= data
FUZZ_SECONDS ?= 300
FUZZ_SEED ?= 0
ATTACK_SECONDS ?= 18
# Most of the time of the tests is waiting: for disks, timers and other processes.
TEST_PROCESSES ?= $(shell expr $$(nproc) + 4)
TESTS := $(shell find tests -name node_modules -prune -o -name '*.py' -print)

# Hundreds of tests start a process, which would otherwise compile all its Python modules first.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: build serve test check lint types kernels wheel wheels fuzz attacks bench demo clean

build: $(VENV)/built

$(VENV)/made:
	@$(PYTHON) .ci/toolchain
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools cython
	@touch $@

$(VENV)/built: SHELL := /bin/bash
$(VENV)/built: .SHELLFLAGS := -o pipefail -c
$(VENV)/built: $(VENV)/made pyproject.toml setup.py $(KERNELS)
	@echo "compiling, which takes about a minute:"
	@$(BIN)/pip install --verbose --no-build-isolation --editable . 2>&1 | tee $(VENV)/build.log \
	| sed -nu "s/^ *building '\(.*\)' extension$$/  \1/p" || { tail -n 40 $(VENV)/build.log; exit 1; }
	@touch $@

$(VENV)/tested: $(VENV)/built pyproject.toml
	$(BIN)/pip install --quiet --group dev
	@touch $@

serve: build ## run a mailserver on the archive in $(DATADIR), by default ./data
	$(BIN)/wakumail serve --datadir $(DATADIR)

# Each process of the tests would compile all modules of the tests, at the same time as the others.
$(VENV)/collected: $(VENV)/tested $(TESTS)
	-@$(BIN)/python -m pytest --collect-only -p no:benchmark >/dev/null # the tests tell what is wrong
	@touch $@

test: $(VENV)/collected ## run the tests on all processors (pytest alone runs one test after another)
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal -p no:benchmark

lint: $(VENV)/tested ## check style, format and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell src ext tests bench docs deploy examples .ci *.md

types: $(VENV)/tested ## check types, and the stubs against the compiled modules
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --concise --allowlist tests/house/stubs.allow $(STUBBED)

$(VENV)/wheeled: $(VENV)/built pyproject.toml
	$(BIN)/pip install --quiet --group wheels
	@touch $@

wheels: $(VENV)/wheeled ## fill dist/ with an sdist and wheels, for every CPython or for PYTHONS
	$(BIN)/python .ci/share.py
	$(BIN)/python .ci/wheels.py $(PYTHONS)

wheel: ## the same for one CPython, PYTHON
	$(MAKE) wheels PYTHONS=$(PYTHON)

kernels: $(VENV)/tested ## run each micro benchmark once, to see that it still works
	$(BIN)/python -m pytest bench --benchmark-disable

check: lint types test kernels wheel

fuzz: $(VENV)/tested ## mutate what parsers and the archive read, under sanitizers, for FUZZ_SECONDS
	$(BIN)/python -m tests.fuzz build
	$(BIN)/python -m tests.fuzz run $(FUZZ_SECONDS) $(FUZZ_SEED)

attacks: $(VENV)/tested ## attack servers for two minutes; every honest client has to be served
	$(BIN)/wakumail bench attacks --archive 50000 --runs 1 --seconds $(ATTACK_SECONDS)

bench: $(VENV)/tested ## measure kernels, then a server under load; BENCHFLAGS="--html FILE", "--serve='--workers 2'"
	$(BIN)/python -m pytest bench --benchmark-only
	$(BIN)/wakumail bench --targets $(BENCHFLAGS)

demo: build ## run a server, a client that posts, and a client that asks for its history
	$(BIN)/python bench/demo.py

clean:
	rm -rf $(VENV) build dist share ext/liblmdb src/*.egg-info
	find ext/wakumail -name '*.c' -delete
	find src/wakumail -name '*.so' -delete
