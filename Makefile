# `make` lists the targets. Python for the virtual environment: PYTHON=python3.12 make setup
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
PINS := requirements/torch.txt requirements/cpu.txt requirements/dev.txt
# named after what was installed, so that a changed pin installs again and an unchanged one does nothing
STAMP := $(VENV)/.installed-$(shell cat $(PINS) pyproject.toml | cksum | tr ' ' '-')
SWIFT_VENV := .venv-swift
SWIFT_STAMP := $(SWIFT_VENV)/.installed-$(shell cksum < requirements/swift.txt | tr ' ' '-')
PYTEST ?= --durations=15
NODES ?= 3
CPUS ?= 8
GPUS ?= 0
WORKERS ?=

.PHONY: help setup setup-swift demo yardstick test lint types format bench up down submit logs stop clean \
  cluster-up cluster-down cluster-test

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the pinned dependencies and the command .venv/bin/raysft

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "raysft needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "setup: $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@rm -f $(VENV)/.installed-*
	@echo "setup: torch"
	@$(PIP) -r requirements/torch.txt
	@echo "setup: $$(cat requirements/cpu.txt requirements/dev.txt | grep -c ==) pinned packages"
	@$(PIP) --no-deps -r requirements/cpu.txt -r requirements/dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "setup: done, $(BIN)/raysft"

setup-swift: $(SWIFT_STAMP) ## make .venv-swift with OpenStack Swift, the S3 server that tests talk to

$(SWIFT_STAMP):
	@test -x $(SWIFT_VENV)/bin/python || $(PYTHON) -m venv $(SWIFT_VENV)
	@rm -f $(SWIFT_VENV)/.installed-*
	@echo "setup: OpenStack Swift"
	@$(SWIFT_VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements/swift.txt
	@touch $@

demo: setup ## run the whole flow on this machine's CPU: jobs/recipes/demo.yaml
	@$(BIN)/raysft run jobs/recipes/demo.yaml

yardstick: setup ## measure every curate stage, and a model tuned on what they keep, on made-up rows
	@$(BIN)/raysft evaluate-curation jobs/recipes/yardstick.yaml --train $(ARGS)

test: lint types setup-swift ## lint, types and all tests
	@$(BIN)/python -m pytest $(PYTEST)

lint: setup ## ruff: rules and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format" >&2; exit 1; }

types: setup ## mypy
	@$(BIN)/mypy

format: setup ## let ruff format and fix what it can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: setup ## run one benchmark against its peers: make bench NAME=generate [ARGS="--rounds 3"]
	@test -n "$(NAME)" || { echo "NAME is missing; there are:" \
	  $$(sed -n 's/^BENCHMARK = .*name="\([a-z_]*\)".*/\1/p' benchmarks/*.py) >&2; exit 2; }
	@$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

up: setup ## start a local Ray with token authentication, for `ray job submit`
	@$(BIN)/python -m cluster.mini_cluster up

down: ## end the Ray that `make up` started, and no other
	@test ! -e .ray/cluster.json || $(BIN)/python -m cluster.mini_cluster down

submit: setup ## run a recipe as a Ray job and follow it: make submit RECIPE=FILE [ADDRESS=URL] [ARGS=…]
	@test -n "$(RECIPE)" || { echo "RECIPE is missing: make submit RECIPE=jobs/recipes/demo.yaml" >&2; exit 2; }
	@$(BIN)/python -m cluster.jobs submit "$(RECIPE)" $(if $(ADDRESS),--address "$(ADDRESS)") $(ARGS)

logs: ## print a job's log, to its end if it runs: make logs [JOB=NAME] [ADDRESS=URL]
	@$(BIN)/python -m cluster.jobs logs $(JOB) $(if $(ADDRESS),--address "$(ADDRESS)")

stop: ## end a job; submitting its recipe again goes on from there: make stop [JOB=NAME] [ADDRESS=URL]
	@$(BIN)/python -m cluster.jobs stop $(JOB) $(if $(ADDRESS),--address "$(ADDRESS)")

cluster-up: setup ## several Ray nodes here: make cluster-up NODES=3 CPUS=8 GPUS=0 WORKERS="generation=1 scoring=1"
	@$(BIN)/python -m cluster.mini_cluster up --nodes $(NODES) --cpus $(CPUS) --gpus $(GPUS) \
	  $(foreach worker,$(WORKERS),--worker $(worker))

cluster-down: down ## end the nodes that `make cluster-up` started, and no others

cluster-test: setup setup-swift ## the demo on NODES nodes over a real S3 server: the same rows as a local run?
	@$(BIN)/python -m cluster.mini_test --nodes $(NODES) $(ARGS)

clean: ## remove caches and build outputs; runs and .venv stay
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis benchmarks/.venvs
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
