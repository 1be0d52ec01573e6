# The two commands of the README are `make demo` and `make test`; each sets up what it needs by itself.
.DEFAULT_GOAL := help
.PHONY: help setup demo test fresh-test lint format chaos lock bench bench-quick

BIN := .venv/bin
# Tests wait for Docker and for each other's processes more than they compute; the order is that of tests/conftest.py.
SIDE_BY_SIDE := --numprocesses 4 --dist loadfile --no-loadscope-reorder

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## a virtual environment in .venv with Longshore in it, Docker's engine, the demo image
	@scripts/setup.sh python docker images

demo: setup ## a coordinator and two workers run the pipeline of examples/demo
	@scripts/demo.sh

test: ## everything that a change must pass: lint, types, all tests
	@scripts/setup.sh dev tools docker test-images
	@$(MAKE) --no-print-directory lint
	$(BIN)/pytest $(SIDE_BY_SIDE)

fresh-test: ## `make demo` and `make test` as on a new machine: a bare base system, Python, make and apt (needs root)
	@scripts/fresh-test.sh

lint: ## ruff, mypy, the arrows between the packages
	@scripts/setup.sh dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: ## let ruff format the code
	@scripts/setup.sh dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

chaos: ## random faults on a real fleet: make chaos SECONDS=60 SEED=7; no SEED is a new one, which is printed
	@scripts/setup.sh dev docker test-images
	$(BIN)/python -m tests.faults.chaos --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

lock: ## pin what development and CI install anew, by hash, and look for known vulnerabilities in it (needs uv, pip-audit)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" --quiet --output-file requirements-dev.lock
	pip-audit --requirement requirements-dev.lock --require-hashes --disable-pip

bench: setup ## Longshore, the limit and the peers side by side: about ten minutes on an otherwise idle machine
	$(BIN)/python -m benchmarks

bench-quick: setup ## the same with less of everything, in under two minutes
	$(BIN)/python -m benchmarks --scale quick
