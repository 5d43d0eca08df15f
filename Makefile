# Every target runs in .venv. It is created on first use and updated when pyproject.toml or constraints.txt change.
# PYTHON=/path/to/python3.12 selects the Python that it is created from.

.DEFAULT_GOAL := help
SHELL := /bin/sh

ARGS ?=
JOBS ?= 2
N ?= 200
CANDIDATES := $(or $(PYTHON),python3.12 python3.11 python3)
RUN := .venv/bin/python -m
STAMP := .venv/.installed

.PHONY: help install demo ablation plan sync test test-all lint docs bench gpu storm validity format clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo '  ARGS="..." is added to the command of demo, ablation, plan, test, test-all, bench, gpu and validity.'

install: $(STAMP) ## Create .venv with the versions of constraints.txt (6 GB; every other target does it first)

demo: $(STAMP) ## Train four arms with three seeds each on the embedded data set: minutes
	$(RUN) acmix_exp +experiment=demo $(ARGS)

ablation: $(STAMP) ## Train every arm and seed of the ablation
	$(RUN) acmix_exp +experiment=ablation $(ARGS)

plan: $(STAMP) ## Show what the ablation would run and what is done; starts nothing
	$(RUN) acmix_exp +experiment=ablation task=plan $(ARGS)

sync: $(STAMP) ## Upload the offline W&B runs under runs/ (NAME=experiment: of that one)
	@if [ ! -d "runs/$(NAME)" ]; then echo "NAME=$(NAME): no such folder under runs/" >&2; exit 2; fi; \
	found=$$(find runs/$(NAME) -type d -path '*/wandb/offline-run-*' -prune | sort); \
	if [ -z "$$found" ]; then echo "nothing to upload under runs/$(NAME)"; else .venv/bin/wandb sync $$found; fi

test: $(STAMP) ## Run the tests, except the slow ones
	$(RUN) pytest -n $(JOBS) --dist loadfile $(ARGS)

test-all: $(STAMP) ## Run all tests
	$(RUN) pytest -n $(JOBS) --dist loadfile -m "slow or not slow" -o faulthandler_timeout=3600 $(ARGS)

lint: $(STAMP) ## Check with ruff and mypy
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

docs: $(STAMP) ## Build the documentation as a site that opens from disk: build/docs/site/index.html
	@.venv/bin/python -c 'import zensical' 2>/dev/null || \
	.venv/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(RUN) scripts.docs_site

bench: $(STAMP) ## Time ACmix, its operator and the other blocks on this CPU: minutes
	OMP_NUM_THREADS=$(JOBS) $(RUN) benchmarks.window_attention --set cpu $(ARGS)
	OMP_NUM_THREADS=$(JOBS) $(RUN) benchmarks.module --set cpu $(ARGS)
	OMP_NUM_THREADS=$(JOBS) $(RUN) benchmarks.blocks --set cpu $(ARGS)

gpu: $(STAMP) ## On a GPU: parity tests, a short training and benchmarks, into one folder (DATA=my/data.yaml)
	$(RUN) benchmarks.gpu $(if $(DATA),--data $(DATA)) $(ARGS)

storm: $(STAMP) ## Kill random processes of a sweep N times (200) and compare its results with the undisturbed one's
	$(RUN) benchmarks.crash_storm --kills $(N) $(ARGS)

validity: $(STAMP) ## Simulate how often verdicts are false and effects are found: docs/validity.md, minutes
	$(RUN) benchmarks.validity $(ARGS)

format: $(STAMP) ## Format and auto-fix with ruff
	$(RUN) ruff format .
	$(RUN) ruff check --fix .

clean: ## Remove .venv, caches and build outputs; runs/ stays
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find acmix_exp tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv whose Python was removed, or that was copied from another machine, is recreated.
ifneq ($(shell test -x .venv/bin/python || echo missing),)
.PHONY: $(STAMP)
endif

# The stamp has the time before the install, so that a change during it is not missed, and exists only after a complete
# one: a .venv without it was interrupted and is recreated. ultralytics requires opencv-python, which needs libGL;
# without libGL, as in most containers, the headless build of the same version replaces it.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	if [ ! -f $@ ] || [ ! -x .venv/bin/python ]; then \
	  found=; \
	  for python in $(CANDIDATES); do \
	    if "$$python" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; \
	    then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "acmix_exp needs Python 3.11 or 3.12 with its venv module (tried: $(CANDIDATES)); install one, or select it: make PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	  fi; \
	  rm -f $@; \
	  echo "Creating .venv with $$found"; \
	  "$$found" -m venv --clear .venv; \
	fi; \
	rm -f $@; \
	touch .venv/.started; \
	pip=".venv/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt"; \
	$$pip --editable '.[dev]'; \
	.venv/bin/python -c 'import cv2' 2>/dev/null || $$pip --no-deps --force-reinstall opencv-python-headless; \
	mv .venv/.started $@
