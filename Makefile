# make demo   environment, installation, and the app on a small simulated dataset
# make test   the fast tests, with coverage from Python 3.12 on
# make test-slow   whole runs of the app, trainings, registrations
# make proofs   minutes of training, whole real heads, baselines where they are installed
# make docs   the documentation site into build/site; links, anchors, sentences, tables and figures checked
# make contents   every module with the sentence that says what it is for
# make lint   ruff and codespell
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
DEMO_DIR ?= n2a-demo
WORKERS ?= 2
PYTEST_ARGS ?=
# Coverage costs little where Python can tell it which lines run (sys.monitoring, 3.12), and half of the time more before.
COVERAGE = $(shell $(VENV)/bin/python -c 'import sys; print("--cov --cov-report=term --cov-fail-under=85" if sys.version_info >= (3, 12) else "")')
export COVERAGE_CORE ?= sysmon
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
# Two test processes share the cores: each keeps to one thread.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow proofs docs contents lint format build clean

demo: $(VENV)/.installed
	env -u OMP_NUM_THREADS $(VENV)/bin/n2a-tools demo $(DEMO_DIR)

# Files in the order of the collection: whole runs first, so that no worker waits for them at the end.
PYTEST = $(VENV)/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-test
	rm -f .coverage .coverage.*
	$(PYTEST) $(COVERAGE) $(PYTEST_ARGS)

test-slow: $(VENV)/.installed-test
	$(PYTEST) -m "slow and not proof" $(PYTEST_ARGS)

proofs: $(VENV)/.installed-test
	$(PYTEST) -m proof $(PYTEST_ARGS)

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	$(VENV)/bin/python -m pytest --quiet --noconftest tests/unit/test_readme.py tests/unit/test_tables.py tests/unit/test_figures.py

contents:
	@git ls-files 'n2a_bids/*.py' | xargs awk 'FNR == 1 { print FILENAME ": " $$0 }'

lint: $(VENV)/.installed-lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/codespell

format: $(VENV)/.installed-lint
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

build: $(VENV)/bin/python
	$(PIP) install --quiet build
	$(VENV)/bin/python -m build

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.*

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "n2a_bids needs Python 3.11 or later, found $$($(PYTHON) --version); name one by: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { echo "No environment could be made; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: setup.cfg pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable .
	touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/python
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable '.[test]'
	touch $(VENV)/.installed $@

# The docstrings are read from the source; neither torch nor the package has to be installed.
$(VENV)/.installed-docs: setup.cfg $(CONSTRAINTS) | $(VENV)/bin/python
	$(PIP) install --quiet --constraint $(CONSTRAINTS) 'mkdocs-material>=9.5' 'mkdocstrings[python]>=0.27' numpy matplotlib pytest
	touch $@

# Linting needs neither torch nor the package.
$(VENV)/.installed-lint: $(CONSTRAINTS) | $(VENV)/bin/python
	$(PIP) install --quiet --constraint $(CONSTRAINTS) ruff codespell
	touch $@
