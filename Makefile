# make install | demo | up | test | faults | check | docs | clean. Everything goes into .venv; nothing else on the machine is touched.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help install demo up test faults check audit fuzz docs clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP_FLAGS := -qq --disable-pip-version-check --no-input
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The first Python that is new enough; PYTHON=… names another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && break; done)

help:
	@echo 'make demo      trains an encoder on handwritten digits and shows what it is good for (2 to 9 minutes)'
	@echo 'make up        starts the service on this machine (.venv/bin/imprint up)'
	@echo 'make test      runs every test'
	@echo 'make faults    kills, stops and starves everything, as often as you like (FAULTS_ARGS="--trials 100")'
	@echo 'make check     style, types, import rules, and links of the documentation'
	@echo 'make audit     whether weaknesses are known in the versions of constraints.txt (needs the network)'
	@echo 'make fuzz      thousands of requests, right and wrong ones, against a running service (FUZZ_ARGS="--examples 200")'
	@echo 'make docs      the documentation as a site: site/index.html'
	@echo 'make install   only makes .venv, with the imprint command in it'
	@echo 'make clean     removes .venv and caches; your imprint-home stays'

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@if [ -z '$(PYTHON)' ] || ! '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo 'Imprint needs Python 3.11 or newer; found: '"$$(python3 --version 2>&1 || true)" >&2; \
		echo 'Install it, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12' >&2; exit 1; fi
	@echo "making $(VENV) with $$('$(PYTHON)' --version)"
	@'$(PYTHON)' -m venv $(VENV) || { \
		echo 'Python could not make a virtual environment; on Debian or Ubuntu: apt install python3-venv' >&2; exit 1; }
	@echo 'installing (about 5 GB with PyTorch, a minute or two)'
	@$(BIN)/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[dev,bench]'
	@touch $(STAMP)
	@echo 'installed: $(BIN)/imprint'

demo: install
	@$(BIN)/python -m imprint.demo

up: install
	@exec $(BIN)/imprint up

test: install
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(PYTEST_ARGS)

faults: install
	@$(BIN)/python tests/faults/run.py $(FAULTS_ARGS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MKDOCS)

docs: install
	@$(MKDOCS)
	@echo 'site/index.html; with search: $(BIN)/python -m http.server --directory site'

audit: install
	@$(BIN)/python .ci/audit.py

fuzz: install
	@$(BIN)/python tests/fuzz/run.py $(FUZZ_ARGS)

clean:
	rm -rf $(VENV) site build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
