# What a person, CI and the commit hook all run. `make repro` is the whole thing.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
QUIET := DVC_NO_ANALYTICS=1 DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true RAY_USAGE_STATS_ENABLED=0
# DVC unpickles what it finds in this folder. Its own choice is open to every user of the machine, and so is what it makes.
CLOSED := d="$(CURDIR)/.venv/dvc-$$(id -u)" && mkdir -p -m 700 "$$d" "$$d/repo" && echo "$$d"
ENV := $(QUIET) DVC_SITE_CACHE_DIR="$${DVC_SITE_CACHE_DIR:-$$($(CLOSED))}" PATH="$(CURDIR)/$(BIN):$$PATH"
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Every package is named in a lock file with the sha256 of its files: nothing else is taken, and nothing is looked for.
HASHED := $(PIP) --require-hashes --no-deps --no-build-isolation
# A build of torch in a folder that pip is told of (PIP_FIND_LINKS), say one for CPUs, comes before that of the index.
OWN_TORCH := grep '^torch==' requirements.lock > .venv/torch.lock && { $(HASHED) --no-index -r .venv/torch.lock 2> /dev/null || true; }
# Of the torch that was taken: PyPI's for Linux needs CUDA's libraries; builds for CPUs, and one that was there, do not.
NEEDS_CUDA := $(BIN)/python -m pip check | grep -qE '^torch .* requires .*, which is not installed'
# For a shell in which the environment was activated, where people say `dvc repro`.
ACTIVATED := grep -q DVC_SITE_CACHE_DIR $(BIN)/activate || printf '%s\n' \
	'if [ -z "$${DVC_SITE_CACHE_DIR:-}" ]; then' \
	'    export DVC_SITE_CACHE_DIR="$$VIRTUAL_ENV/dvc-$$(id -u)"' \
	'    mkdir -p -m 700 "$$DVC_SITE_CACHE_DIR" "$$DVC_SITE_CACHE_DIR/repo" || unset DVC_SITE_CACHE_DIR' \
	'fi' >> $(BIN)/activate
SHOWN_ON_FAILURE := > .venv/install.log 2>&1 || { cat .venv/install.log; exit 1; }
PINS := sed -E 's/\+[a-z0-9.]+$$//' | grep -vE '^(pip|zerosum)( |=)'

.PHONY: repro test check chaos cluster bench fuzz zoo golden ui docs sbom digests lock clean

# `zerosum check` comes first: a mistake is said within seconds, and DVC sees data that has moved, or changed at an address.
repro: .venv/ready  ## install, then the DAG: shards, search, training, scores, registry
	@$(ENV) zerosum check
	@$(ENV) dvc repro
	@if [ -n "$$MLFLOW_TRACKING_URI" ] || [ ! -e mlflow.db ]; then $(ENV) zerosum register; fi
	@echo "report: artifacts/report/report.html"

# In the order of the folders, so that the long ones come first.
test: .venv/dev  ## the tests: under twenty minutes on two cores
	@$(ENV) pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long and not chaos"

check: .venv/dev  ## lint, types, the floors, fast tests: under two minutes
	@$(ENV) ruff format --check .
	@$(ENV) ruff check .
	@$(ENV) pyright
	@$(ENV) lint-imports
	@$(ENV) python tools/audit.py
	@$(ENV) pytest -q -n 2 --dist loadfile -m "not slow and not long and not chaos"

chaos: .venv/dev  ## faults at random moments: all ends in the same bytes; CHAOS_SEED, CHAOS_RUNS, CHAOS_MINUTES
	@$(ENV) PYTHONPATH=.:tests/support python tests/chaos/chaos.py
	@$(ENV) pytest -n 2 --dist worksteal -m chaos

cluster: .venv/dev  ## a Ray cluster of several raylets on loopback, the DAG by each way to address it, sizes and deaths
	@$(ENV) pytest -v -m "slow or long" tests/cluster tests/unit/infra

bench: .venv/dev  ## speeds, as ratios measured in one run
	@$(ENV) python tests/bench/loop.py
	@$(ENV) python tests/bench/overhead.py
	@$(ENV) python tests/bench/inception.py
	@$(ENV) python tests/bench/frechet.py
	@$(ENV) pytest -q -m long tests/flow tests/numerics tests/unit --ignore tests/unit/infra

fuzz: .venv/dev  ## changed files to every reader of strangers' bytes; FUZZ_SECONDS, FUZZ_SEED, FUZZ_READERS
	@$(ENV) PYTHONPATH=.:tests/support:tests/fuzz python tests/fuzz/fuzz.py

zoo: .venv/dev  ## every image family on Fashion-MNIST, five minutes of training each; goes on where it was stopped
	@$(ENV) python tests/bench/zoo.py $(ZOO)

golden: .venv/dev  ## the numbers of eight steps of every family, written again; FAMILIES="dcgan r3gan"
	@$(ENV) PYTHONPATH=.:tests/support python tests/golden/golden.py $(FAMILIES)

ui: .venv/ready  ## MLflow's pages on 127.0.0.1:5000
	@$(ENV) env -u MLFLOW_TRACKING_URI zerosum ready
	@$(ENV) MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow server --backend-store-uri sqlite:///mlflow.db --artifacts-destination mlartifacts --host 127.0.0.1 --port 5000

.venv/ready: requirements.lock requirements-build.lock requirements-cuda.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes the first time)"
	@$(HASHED) -r requirements-build.lock $(SHOWN_ON_FAILURE)
	@$(OWN_TORCH)
	@$(HASHED) --use-pep517 -r requirements.lock $(SHOWN_ON_FAILURE)
	@! $(NEEDS_CUDA) || $(HASHED) -r requirements-cuda.lock $(SHOWN_ON_FAILURE)
	@$(PIP) --no-deps --no-build-isolation -e . $(SHOWN_ON_FAILURE)
	@$(ACTIVATED)
	@touch $@

.venv/dev: .venv/ready requirements-dev.lock
	@echo "installing the tools for tests"
	@$(HASHED) -r requirements-dev.lock $(SHOWN_ON_FAILURE)
	@touch $@

docs: .venv/dev  ## the pages as a site, links checked, with an API reference: .work/site
	@$(ENV) PYTHONPATH=. python tools/docs.py

sbom: .venv/ready  ## what is installed, as a bill of materials: sbom.json, in CycloneDX
	@$(ENV) python tools/sbom.py sbom.json

digests:  ## the digests behind the tags of the images that infra/ builds on; needs docker and its registry
	@infra/digests.sh

# A new environment from pyproject.toml, whose versions become the lock files. setuptools builds the package itself.
lock:  ## resolve pyproject.toml again and pin what was found, with the sha256 of every file
	rm -rf .work/lock && $(PYTHON) -m venv .work/lock
	.work/lock/bin/pip install --quiet . && .work/lock/bin/pip freeze --all | $(PINS) | sort -f > .work/lock/run
	.work/lock/bin/pip install --quiet '.[dev]' && .work/lock/bin/pip freeze --all | $(PINS) | sort -f > .work/lock/all
	(head -1 requirements.lock; cat .work/lock/run) > .work/lock/new && mv .work/lock/new requirements.lock
	(head -1 requirements-dev.lock; comm -13 .work/lock/run .work/lock/all) > .work/lock/new && mv .work/lock/new requirements-dev.lock
	.work/lock/bin/python tools/lock.py

clean:  ## everything that `make repro` made, but the registry and the environment
	rm -rf .work artifacts .pytest_cache .ruff_cache .hypothesis dvc_plots
