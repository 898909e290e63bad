# What a person, CI and the commit hook all run. `make repro` is the whole thing.
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
QUIET := DVC_NO_ANALYTICS=1 DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true RAY_USAGE_STATS_ENABLED=0
ENV := $(QUIET) PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: repro test check bench ui lock clean

repro: .venv/ready  ## install, then the DAG: shards, search, training, scores, registry
	@$(ENV) dvc repro
	@$(ENV) zerosum models

test: .venv/dev  ## every test
	@$(ENV) pytest

check: .venv/dev  ## lint, types, the floors, fast tests: under two minutes
	@$(ENV) ruff format --check .
	@$(ENV) ruff check .
	@$(ENV) pyright
	@$(ENV) lint-imports
	@$(ENV) pytest -q -m "not slow"

bench: .venv/dev  ## speeds, as ratios measured in one run
	@$(ENV) python tests/bench/loop.py

ui: .venv/ready  ## MLflow's pages on 127.0.0.1:5000
	@$(ENV) mlflow server --backend-store-uri sqlite:///mlflow.db --artifacts-destination mlartifacts --host 127.0.0.1 --port 5000

.venv/ready: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev: .venv/ready requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

lock: .venv/dev  ## write the installed versions back into the lock files
	@$(BIN)/python infra/lock.py

clean:  ## everything that `make repro` made, but the registry and the environment
	rm -rf .work artifacts .pytest_cache .ruff_cache .hypothesis dvc_plots
