# wakumail: make serve | test | check | bench | demo. All goes into .venv and, compiled, beside the sources.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KERNELS := $(shell find ext/wakumail -name '*.p[yx]*' -o -name '*.h') ext/liblmdb.txt
STUBBED := $(subst /,.,$(patsubst src/%.pyi,%,$(shell find src/wakumail -name '*.pyi')))
DATADIR ?= data

# Hundreds of tests start a process: none of them shall have to compile its modules first.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: build serve test check lint types kernels wheel bench demo clean

build: $(VENV)/built

$(VENV)/made:
	@$(PYTHON) .ci/toolchain
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools cython
	@touch $@

$(VENV)/built: $(VENV)/made pyproject.toml setup.py $(KERNELS)
	$(BIN)/pip install --quiet --no-build-isolation --editable .
	@touch $@

$(VENV)/tested: $(VENV)/built pyproject.toml
	$(BIN)/pip install --quiet --group dev
	@touch $@

serve: build ## run a mailserver on an embedded archive in $(DATADIR)
	$(BIN)/wakumail serve --datadir $(DATADIR)

test: $(VENV)/tested ## on all processors; pytest by itself runs one test after another
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -p no:benchmark

lint: $(VENV)/tested ## style, format and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell src ext tests bench docs examples *.md

types: $(VENV)/tested ## mypy, and the stubs held against the compiled modules
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --concise --allowlist tests/house/stubs.allow $(STUBBED)

wheel: $(VENV)/tested ## build sdist and wheel, install the wheel into a clean environment and use it
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --quiet --outdir build/wheel .
	$(PYTHON) -m venv build/wheel/env
	build/wheel/env/bin/pip install --quiet build/wheel/*.whl
	cd build/wheel && env/bin/python ../../tests/wheel_smoke.py

kernels: $(VENV)/tested ## the micro benches, once, for life
	$(BIN)/python -m pytest bench --benchmark-disable

check: lint types test kernels wheel

bench: $(VENV)/tested ## kernels, then the load bench; BENCHFLAGS="--html FILE", "--serve='--workers 2'"
	$(BIN)/python -m pytest bench --benchmark-only
	$(BIN)/wakumail bench --targets $(BENCHFLAGS)

demo: build ## a server, a client that posts, a client that asks back
	$(BIN)/python bench/demo.py

clean:
	rm -rf $(VENV) build dist ext/liblmdb ext/wakumail/*/*.c src/wakumail/*/*.so src/*.egg-info
