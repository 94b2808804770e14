# Needs python3 (3.11 or newer, with venv) and make, nothing else. Everything is installed into .venv.
#
#   make demo        open the notebooks in JupyterLab, with simulated answers
#   make test        lint, types, and every test that is not slow; installs a browser where it may. Fails, too,
#                    where all tests together run less of the package than the floor in pyproject.toml
#   make coverage    the same, and which lines of the package no test ran
#   make test-slow   the slow tests
#   make soak        a hundred streams at a time under random faults; SECONDS=600 says how long
#   make night       ten thousand rows in JupyterLab, with broken requests and a killed kernel; ROWS=300 for fewer
#   make bench       what a chunk costs, against google-genai and a bare socket, and fifty panes; BENCH_ARGS=--full for all
#
# DEMO_ARGS="--port 9999 --no-browser" and PYTEST_ARGS="-k pane" are passed on, PYTHON=python3.12 chooses a
# Python, WORKERS=1 runs one test after the other.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH_ARGS ?=
DEMO_ARGS ?=
SECONDS ?= 600
PYTEST_ARGS ?=
ROWS ?= 10000
WORKERS ?= 3
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# Many tests start a Python of their own, which would compile the package anew each time.
unexport PYTHONDONTWRITEBYTECODE

# An environment that was half made, or whose Python has gone, is made again.
VENV_IF_BROKEN = $(shell $(BIN)/python -c "import pip" 2>/dev/null || echo venv)

.PHONY: bench coverage demo night quick-tests soak test test-slow lint types browser venv
.SUFFIXES:

demo: $(VENV)/.installed-demo
	@$(BIN)/python -m gemini_nb.cli demo $(DEMO_ARGS)

# Types are checked beside the tests: that takes one processor half a minute where nothing is cached.
test: $(VENV)/.installed-test browser lint
	@$(MAKE) --no-print-directory -j2 types quick-tests

# A part of the tests runs a part of the package, so only a whole run has a floor.
quick-tests: export GEMINI_NB_COVERAGE ?= $(if $(PYTEST_ARGS),,floor)
quick-tests: $(VENV)/.installed-test
	@echo "Running the tests that are not slow"
	@$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

coverage: export GEMINI_NB_COVERAGE = $(if $(PYTEST_ARGS),,floor) table
coverage: test

# Pytest says 5 when it ran nothing. That is a failure unless no test is marked slow.
test-slow: $(VENV)/.installed-test browser
	@echo "Running the slow tests"
	@$(BIN)/python -m pytest -m slow -n 2 --dist loadfile $(PYTEST_ARGS) || { \
	  status=$$?; \
	  if [ $$status -eq 5 ] && ! grep -rqE --include='*.py' 'mark\.slow' tests; then \
	    echo "*** NO SLOW TESTS RAN: no test in tests/ is marked slow ***"; \
	  else exit $$status; fi; }

bench: $(VENV)/.installed-test
	@$(BIN)/python tests/benchmarks/all.py $(BENCH_ARGS)

soak: $(VENV)/.installed-test
	@$(BIN)/python tests/soak.py --seconds $(SECONDS)

night: $(VENV)/.installed-test browser
	@$(BIN)/python tests/night.py --rows $(ROWS)

lint: $(VENV)/.installed-test
	@echo "Checking style"
	@$(BIN)/python -m ruff check --quiet .
	@$(BIN)/python -m ruff format --check --quiet . \
	  || { echo "these need: $(BIN)/ruff format ."; $(BIN)/python -m ruff format --check .; exit 1; }

types: $(VENV)/.installed-test
	@echo "Checking types"
	@$(BIN)/python -m mypy

$(VENV)/.installed-%: pyproject.toml $(VENV_IF_BROKEN)
	@echo "Installing gemini_nb[$*] into $(VENV) (minutes the first time)"
	@$(BIN)/python -m pip install -qq -e ".[$*]"
	@touch $@

venv:
	@command -v $(PYTHON) >/dev/null \
	  || { echo "$(PYTHON) is not installed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$$($(PYTHON) -V) is too old: name a newer one with PYTHON=python3.12 (3.11 is enough)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) has no venv module: apt-get install python3-venv"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV)

browser:
	@for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ]; then sudo=""; else sudo="sudo -n"; fi; \
	if command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
	  echo "Installing Chromium with apt-get for the browser tests"; \
	  { $$sudo apt-get update -qq; \
	    $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; \
	  } >/dev/null 2>&1; \
	fi; \
	for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
	echo "No browser: the browser tests will be skipped. Install Chromium or Chrome, e.g. apt-get install chromium"
