# Every target sets up what it needs. SCALE: smoke, laptop (what params.yaml and dvc.lock hold), overnight or full.
SHELL := /bin/sh
PYTHON ?= python3
SCALE ?= laptop
AUDIT_MINUTES ?= 20
AUDIT_SEED ?= 0
VENV := .venv
UV_VERSION := 0.13.8
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Without cached bytecode every stage would compile torch anew.
export PYTHONDONTWRITEBYTECODE :=
export UV_LINK_MODE ?= copy
# Packages of another Python would come before those of .venv.
unexport PYTHONPATH
unexport PYTHONHOME

.PHONY: help repro test lint ui verify audit failures bench lock clean

help:
	@echo "make repro [SCALE=smoke|laptop|...]   reproduce everything, then look at reports/index.html"
	@echo "make test                             run the tests, on all cores"
	@echo "make ui                               look at the runs in MLflow"
	@echo "make verify                           reproduce HEAD from scratch, compare with dvc.lock"
	@echo "make audit                            train some published trials of the overnight scale again, compare"
	@echo "make lint | bench | lock | clean      check the code | time it | pin new versions | remove outputs"

$(VENV)/ready: requirements.lock pyproject.toml src/repligan/tools/install.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"$(PYTHON): found Python {v[0]}.{v[1]}; allowed: 3.11 to 3.13 (make PYTHON=python3.12)")'
	@echo "setting up $(VENV): about 6 GB, once"
	@grep -qs 'relocatable = true' $(VENV)/pyvenv.cfg && $(VENV)/bin/python -c '' || $(PYTHON) -m venv --clear $(VENV)
	$(VENV)/bin/python src/repligan/tools/install.py $(UV_VERSION)
	@touch $@

# DVC wants either git or to be told that there is none (an unpacked archive).
$(VENV)/checked: $(VENV)/ready
	@test -e .git || dvc config --local core.no_scm true
	@touch $@

repro: $(VENV)/checked
	@grep -qx 'scale: $(SCALE)' params.yaml || repligan scale $(SCALE)
	@case '$(SCALE)' in overnight|full) repligan plan;; esac
	@repligan repair
	repligan repro
	@echo "look at reports/index.html, or at the runs: make ui"

test: $(VENV)/checked
	python -m pytest -n auto $(PYTEST_ARGS)

lint: $(VENV)/ready
	ruff check .
	ruff format --check .
	mypy

ui: $(VENV)/ready
	repligan ui

# What the weekly job runs: everything anew, compared with the committed hashes.
verify: $(VENV)/checked
	repligan verify

# In a clone of its own: params.yaml and dvc.lock here stay at their scale.
audit: $(VENV)/checked
	rm -rf .work/audit
	git clone --quiet . .work/audit
	cp published/overnight/params.yaml .work/audit/
	cd .work/audit && export PYTHONPATH=$(CURDIR)/.work/audit/src && dvc repro reference@mnist && \
	  repligan audit published/overnight/dcgan-mnist.trials --minutes $(AUDIT_MINUTES) --seed $(AUDIT_SEED)

failures: $(VENV)/ready
	REPLIGAN_WRITE_FAILURES=1 python -m pytest tests/test_failures.py

bench: $(VENV)/ready
	python -m benchmarks.bench

lock: $(VENV)/ready
	uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --upgrade --generate-hashes \
	  --extra dev --no-annotate --no-header pyproject.toml --output-file requirements.lock

clean:
	rm -rf data reports/figures reports/index.html .work
