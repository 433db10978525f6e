# What is needed: Python 3.11 or newer, git, make. Everything else is installed into .venv/.
#
#   make demo     run, throw away and reproduce a small study
#   make test     the tests that take seconds
#   make faults   the long run of the tests that break things: an hour or two
#   make check    lint, format, types, layers, documentation
#   make clean    remove what these made
#
# Another Python: make demo PYTHON=/path/to/python3.12

PYTHON ?=
PYTEST_ARGS ?=

.PHONY: help demo test slow faults check dev clean azurite
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

demo: .venv/demo/installed-demo
	@.venv/demo/bin/thence demo

test: .venv/test/installed-test azurite
	@echo "Running the tests, all but the slow ones."
	@.venv/test/bin/python -m pytest -n auto -m "not slow" $(PYTEST_ARGS)

slow: .venv/test/installed-test azurite
	@echo "Running the slow tests."
	@.venv/test/bin/python -m pytest -n auto -m slow $(PYTEST_ARGS)

faults: .venv/test/installed-test
	@echo "Running the long fault tests."
	@THENCE_FAULTS=long .venv/test/bin/python -m pytest -n auto tests/fault --fault-report \
	    $(PYTEST_ARGS)

check: .venv/test/installed-dev
	@echo "Lint (ruff check)"
	@.venv/test/bin/ruff check .
	@echo "Format (ruff format --check)"
	@.venv/test/bin/ruff format --check .
	@echo "Types (mypy --strict)"
	@.venv/test/bin/mypy
	@echo "Layers (lint-imports)"
	@.venv/test/bin/lint-imports
	@echo "Documentation (tests/docs)"
	@.venv/test/bin/python -m pytest -n auto -q tests/docs -m "not slow" $(PYTEST_ARGS)

dev: .venv/test/installed-dev
	@echo "Ready. To use it: . .venv/test/bin/activate"

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment for the demonstration, one for development; the stamp in it says which extra of
# pyproject.toml is installed, and is older than pyproject.toml where that changed.

.venv/demo/installed-demo: EXTRA = demo
.venv/test/installed-test: EXTRA = test
.venv/test/installed-dev: EXTRA = dev

.venv/demo/bin/python:
	@$(MAKE_VENV)

.venv/test/bin/python:
	@$(MAKE_VENV)

.venv/demo/installed-demo: pyproject.toml | .venv/demo/bin/python
	@$(INSTALL)

.venv/test/installed-test: pyproject.toml | .venv/test/bin/python
	@$(INSTALL)

# What the tests need comes first, so that two pips never write to one environment.
.venv/test/installed-dev: pyproject.toml .venv/test/installed-test | .venv/test/bin/python
	@$(INSTALL)

# An emulator for the tests of one kind of store. Where it cannot be installed, those are skipped,
# and say so.
azurite:
	@if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; then \
	    $(MAKE) --no-print-directory .venv/npm/installed-azurite \
	    || echo "Azurite could not be installed; tests that need it are skipped."; \
	else echo "Without node and npm the tests of Azure are skipped."; fi

.venv/npm/installed-azurite: tests/servers/azurite_npm/package.json
	@echo "Installing Azurite with npm (about half a minute)."
	@mkdir -p $(@D) && cp $< $(@D)/package.json
	@npm install --prefix $(@D) --no-package-lock --no-audit --no-fund --no-update-notifier \
	    --omit=dev --loglevel=error && touch $@

# Debian and its like ship a Python that cannot make environments until python3-venv is installed.
define MAKE_VENV
found=; old=; \
for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
    if "$$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then found=$$python; break; fi; \
    old=$$python; \
done; \
if [ -z "$$found" ] && [ -n "$$old" ]; then \
    echo "$$old cannot make a virtual environment: it comes without venv or pip." >&2; \
    echo "Install them (on Debian and Ubuntu: apt install python3-venv), or name another Python:" >&2; \
    echo "    make PYTHON=/path/to/python3" >&2; \
    exit 1; \
fi; \
if [ -z "$$found" ]; then \
    echo "Python 3.11 or newer is needed, and none was found." >&2; \
    echo "Install one, or name it: make PYTHON=/path/to/python3" >&2; \
    exit 1; \
fi; \
folder=$(patsubst %/bin/python,%,$@); \
echo "Making the environment $$folder with $$("$$found" -V)."; \
"$$found" -m venv "$$folder"
endef

# pip says a line for each package that it has to fetch, and nothing of those that are there.
define INSTALL
echo "Installing thence with what '$(EXTRA)' needs (the first time this takes a minute or two)."; \
folder=$(@D); rm -f $@.done; \
{ "$$folder/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
    --root-user-action ignore -e '.[$(EXTRA)]' && touch $@.done; } \
| sed -e '/^Requirement already/d' -e '/^Looking/d' -e '/^Obtaining/d' -e '/^ /d' \
    -e 's/^Collecting \([A-Za-z0-9._-]*\).*/  \1/' -e '/^Installing coll/s/:.*//' \
    -e '/^Successfully/d' -e '/^Processing/d' -e '/^Building/d'; \
if [ ! -f $@.done ]; then \
    echo "The packages could not be installed; what pip said is above." >&2; exit 1; \
fi; \
mv $@.done $@; touch $@
endef
