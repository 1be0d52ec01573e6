# The README's two commands are `make demo` and `make test`; each sets up its own prerequisites.
.DEFAULT_GOAL := help
.PHONY: help setup demo test fresh-test lint format architecture chaos lock wheel bench bench-quick

BIN := .venv/bin
# Tests wait for Docker and other processes more than they compute; tests/conftest.py sets their order.
SIDE_BY_SIDE := --numprocesses 4 --dist loadfile --no-loadscope-reorder

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install Longshore into .venv, install git, start Docker's engine, build the demo image
	@scripts/setup.sh python git docker images

demo: setup ## run the pipeline of examples/demo with a coordinator and two workers
	@scripts/demo.sh

test: ## lint, types and all tests; every change must pass
	@scripts/setup.sh dev tools docker test-images
	@$(MAKE) --no-print-directory lint
	$(BIN)/pytest $(SIDE_BY_SIDE)

fresh-test: ## `make demo` and `make test` in a minimal base system with Python, make and apt (needs root)
	@scripts/fresh-test.sh

lint: ## ruff, mypy, import rules
	@scripts/setup.sh dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: ## format the code with ruff
	@scripts/setup.sh dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

architecture: ## generate the picture and the table of docs/architecture.md from the code's imports
	@scripts/setup.sh dev
	$(BIN)/python scripts/architecture.py

chaos: ## random faults on a real fleet: make chaos SECONDS=60 SEED=7; without SEED, a new one is printed
	@scripts/setup.sh dev docker test-images
	$(BIN)/python -m tests.faults.chaos --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

lock: ## update requirements-dev.lock, with hashes, and audit it for known vulnerabilities (needs uv, pip-audit)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" --quiet --output-file requirements-dev.lock
	pip-audit --requirement requirements-dev.lock --require-hashes --disable-pip

wheel: ## build the wheel of HEAD into dist/, with man pages and completions; its version is that of the tag
	@scripts/wheel.sh

bench: setup ## compare Longshore with the limit and its peers: about half an hour on an otherwise idle machine
	$(BIN)/python -m benchmarks

bench-quick: setup ## the same at a smaller scale, in about four minutes
	$(BIN)/python -m benchmarks --scale quick
