# What contributors, the README and .ci/run call. A fresh machine needs Python 3.11-3.13, git and make.
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3 python; do \
  $$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info < (3,14))' 2>/dev/null && { echo $$p; exit; }; done; echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.mien-dev
DEMO ?= demo-project

.DEFAULT_GOAL := help
.PHONY: help setup weights demo test lint types imports bench docs clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3,11) <= sys.version_info < (3,14); ok or sys.exit("mien needs Python 3.11, 3.12 or 3.13; name one with: make PYTHON=/path/to/python")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

setup: $(STAMP) ## virtual environment with mien and its development tools

weights: setup ## fetch all that the tests use, once (about 390 MB fetched, 290 MB kept)
	$(BIN)/mien models pull tests

demo: setup ## analyse real footage and write a report (fetches about 300 MB, keeps 150 MB)
	$(BIN)/mien models pull default sample.demo-video sample.demo-laugh
	test -f $(DEMO)/mien.toml || $(BIN)/mien init $(DEMO) --context research
	@echo "The demo footage is real, but its own sound track is silent: real laughter is laid under its laughing part."
	test -f $(DEMO)/demo.mp4 || $(BIN)/python -m mien.testing.composite "$$($(BIN)/mien models path sample.demo-video)" \
	  "$$($(BIN)/mien models path sample.demo-laugh)" $(DEMO)/demo.mp4
	$(BIN)/mien -C $(DEMO) run $(DEMO)/demo.mp4
	@echo
	@echo "Open this report in a browser:"
	@$(BIN)/mien -C $(DEMO) report
	@echo "Ask the project in SQL, e.g.:"
	@echo "  $(BIN)/mien -C $(DEMO) query \"SELECT kind, text FROM claims\""

test: weights ## all default tests, on the real weights
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## pyright
	$(BIN)/pyright

imports: setup ## the contract between rooms
	$(BIN)/lint-imports

bench: setup ## list the measurements
	-$(BIN)/python -m bench

docs: setup ## the documentation site, in build/site
	$(BIN)/python -m bench.table
	$(BIN)/zensical build --strict --clean

clean: ## remove what make made here (not the weights)
	rm -rf $(VENV) $(DEMO) build dist .cache .pytest_cache .ruff_cache
