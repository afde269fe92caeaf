# Everything that a clone needs, from nothing but Python 3.11 to 3.13:  make demo  ·  make test
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Done once, and again when the dependencies change.
READY := $(VENV)/.installed
OUT ?= demo

.PHONY: help
help: ## what can be asked for
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "vsal needs Python 3.11 to 3.13, and $(PYTHON) is $$($(PYTHON) -V 2>&1 || echo missing)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu its module is a package of its own:" >&2; \
	  echo "  apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing vsal and what it needs into $(VENV): about 2 GB, a few minutes the first time."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

.PHONY: install
install: $(READY) ## make .venv and install vsal into it

.PHONY: demo
demo: $(READY) ## render a title, prepare it, draw its shots (into OUT=demo)
	$(BIN)/vsal demo --out $(OUT)

.PHONY: test
test: $(READY) ## what to run while working: ten minutes on two cores
	$(BIN)/python -m pytest -m "not long and not faults" $(ARGS)

.PHONY: test-faults
test-faults: $(READY) ## one of each death: workers, actors, drivers, stores
	$(BIN)/python -m pytest -m "faults and not long" $(ARGS)

.PHONY: test-all
test-all: $(READY) ## the tests that take minutes too
	$(BIN)/python -m pytest $(ARGS)

.PHONY: lint
lint: $(READY) ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: bench
bench: $(READY) ## the figures that README quotes
	$(BIN)/python -m benchmarks.prepare $(ARGS)

.PHONY: clean
clean: ## remove what was made here, .venv included
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
