# Phireside: `make chat` to use it, `make test` before a commit. Every target prepares .venv itself.

VENV := .venv
# The first Python that is new enough; `make chat PYTHON=/path/to/python3.12` overrides.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
INSTALL = $(or $(PYTHON),$(error Python 3.11 or newer is needed, and none was found)) .ci/install.py
# WHEEL=1 tests the built wheel instead of the checkout, as .ci/run does.
WHEEL_OPTION = $(if $(WHEEL),--wheel)

.DEFAULT_GOAL := help
.PHONY: help chat test check reliability bench docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

chat: ## Open the chat in a browser (installs everything on the first call)
	@$(INSTALL) starter
	@$(VENV)/bin/phireside ui

test: ## All checks and tests, with a real model and a headless Chromium
	@$(INSTALL) dev --browser $(WHEEL_OPTION)
	@$(MAKE) --no-print-directory _check
	@$(VENV)/bin/pytest -n auto --dist loadfile -m "not slow"

check: ## Format, lint, types and the table of allowed imports
	@$(INSTALL) dev $(WHEEL_OPTION)
	@$(MAKE) --no-print-directory _check

.PHONY: _check
_check: # on a built copy: type checkers do not see an editable installation
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@rm -rf build
	@$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation --target build/types .
	@$(VENV)/bin/mypy
	@PYTHONPATH=build/types $(VENV)/bin/lint-imports

reliability: ## All reliability tests, the long ones too, and the table of their figures
	@$(INSTALL) dev --browser
	@$(VENV)/bin/pytest tests/reliability -m "" --timeout 3600

bench: ## The benchmarks against their peers (docs/performance.md)
	@$(INSTALL) bench
	@for file in $(BENCHMARKS); do echo "==> $$file"; $(VENV)/bin/python $$file || exit 1; done
	@mkdir -p build && $(VENV)/bin/python benchmarks/engine/run_all.py --results build/engine.jsonl
	@if [ -d "$(DATA)" ]; then $(VENV)/bin/python benchmarks/memory.py --data "$(DATA)"; \
	  $(VENV)/bin/python benchmarks/reasoning.py --data "$(DATA)"; fi

docs: ## The documentation as a site, into build/site
	@$(INSTALL) dev
	@rm -rf build/types
	@$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation --target build/types .
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict -f .ci/mkdocs.yml

# Where benchmarks/README.md says what it holds.
DATA ?= ../shared/data
BENCHMARKS := benchmarks/decode.py benchmarks/chat_turns.py benchmarks/threads.py

clean: ## Remove what was built, but not .venv and no data
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
