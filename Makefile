# What there is to do here, in the order that a newcomer wants it. Nothing is done twice.

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/pip --quiet --quiet --disable-pip-version-check
PYTEST := $(VENV)/bin/pytest -q --durations=20
TESTS ?=
BENCH := $(VENV)/bin/python -m contrib.bench

.PHONY: help run deps check test test-long fuzz docs lock bench bench-latency bench-held bench-merge bench-plugins bench-large clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: $(VENV)/.installed  ## install into .venv and start on conf/ as shipped
	@exec $(VENV)/bin/mtaframe run --conf conf

deps:  ## install the Debian programs that tests run (as root; no service is started)
	@contrib/deps/install

check: $(VENV)/.developing  ## formatting, lint, types
	@$(VENV)/bin/ruff format --quiet --check . || { echo "to mend: $(VENV)/bin/ruff format ."; exit 1; }
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy

test: $(VENV)/.developing deps  ## all tests but the long ones
	@$(PYTEST) -n 2 -m "not long" $(TESTS)

test-long: $(VENV)/.developing deps  ## the long ones
	@$(PYTEST) -m long

fuzz: $(VENV)/.developing  ## feed every parser with what nobody sends in good faith, for hours; needs atheris
	@$(VENV)/bin/python -m tests.fuzz $(ARGUMENTS)

docs: $(VENV)/.developing  ## write anew what the docs take from the code
	@$(VENV)/bin/python -m tests.house.generated

lock: $(VENV)/.developing  ## pin what a release depends on, with hashes, in requirements.lock
	@$(PIP) install 'pip-tools>=7.4'
	@$(VENV)/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras --no-annotate --no-header \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock pyproject.toml

bench: $(VENV)/.developing  ## how fast it is beside other mail servers; writes docs/benchmarks.md (minutes, root)
	@contrib/bench/install
	@$(BENCH) throughput $(ARGUMENTS)

bench-latency: $(VENV)/.developing  ## what it adds to a transaction
	@contrib/bench/install
	@$(BENCH) latency $(ARGUMENTS)

bench-held: $(VENV)/.developing  ## thousands of transactions held open
	@contrib/bench/install
	@$(BENCH) held $(ARGUMENTS)

bench-merge: $(VENV)/.developing  ## personalised copies per second
	@$(BENCH) merge $(ARGUMENTS)

bench-plugins: $(VENV)/.developing  ## what each plugin adds to a message
	@contrib/bench/install
	@$(BENCH) plugins $(ARGUMENTS)

bench-large: $(VENV)/.developing  ## large messages
	@contrib/bench/install
	@$(BENCH) large $(ARGUMENTS)

clean:  ## remove .venv, .deps and caches
	@rm -rf $(VENV) .deps .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz build *.egg-info

# --- how ---

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "mtaframe needs Python 3.11 or newer: apt-get install python3 (Debian 12 or newer), or make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python can't make a venv here: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.installed: $(VENV)/bin/pip pyproject.toml
	@echo "installing mtaframe into $(VENV) ..."
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.developing: $(VENV)/bin/pip pyproject.toml
	@echo "installing mtaframe and its tools into $(VENV) ..."
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.installed
