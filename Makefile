# Every target starts from a fresh clone: it makes what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RAY := .venv-ray
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check

LM_EVAL := .venv-lm-eval
MODELOPT := .venv-modelopt
FAST_TESTS ?= yes
TEST_WORKERS ?= 3

.PHONY: help install lm-eval modelopt ray demo chat test check mutants docs site screenshots notebook clean
.DEFAULT_GOAL := help

help: ## show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt requirements-nemo-cpu.txt requirements-triton.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else f"Opswright needs Python 3.11 or 3.12, this is {v[0]}.{v[1]}: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[all]"
	$(PIP) install --quiet --no-deps --requirement requirements-nemo-cpu.txt
	mkdir -p .link && ln -sfn "$(CURDIR)" .link/opswright
	$(BIN)/opswright install triton --optional
	touch $(READY)

install: $(READY) ## set up .venv (about 2.8 GB; some minutes, once), and Triton in the user's cache (250 MB)

$(RAY)/.ready: requirements-ray.txt
	test -x $(RAY)/bin/python || $(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --requirement requirements-ray.txt
	touch $(RAY)/.ready

ray: $(RAY)/.ready ## set up .venv-ray for compute: ray (0.66 GB)

demo: $(READY) ## ship, watch, refuse, retrain and promote a real model, in minutes
	$(BIN)/opswright demo

chat: $(READY) ## open the console at http://127.0.0.1:7860
	$(BIN)/opswright chat

modelopt: $(MODELOPT)/.ready ## set up NVIDIA ModelOpt in .venv-modelopt, for target trtllm (1.4 GB)

$(MODELOPT)/.ready: requirements-modelopt.txt
	test -x $(MODELOPT)/bin/python || $(PYTHON) -m venv $(MODELOPT)
	$(MODELOPT)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	touch $@

lm-eval: $(LM_EVAL)/.ready ## set up lm-evaluation-harness in .venv-lm-eval (about 530 MB)

$(LM_EVAL)/.ready: requirements-lm-eval.txt constraints.txt
	test -x $(LM_EVAL)/bin/python || $(PYTHON) -m venv $(LM_EVAL)
	$(LM_EVAL)/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt --requirement $<
	touch $@

# CI says FAST_TESTS=no: it runs every test in `make test` right after, and none twice.
check: $(READY) ## lint, types, reference pages and fast tests (some minutes)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests
	$(BIN)/opswright skills --reference docs/reference --check
	$(if $(filter no,$(FAST_TESTS)),,$(BIN)/python -m pytest -q -m "not e2e and not gpu and not slurm" -n 2)

# One worker more than a small machine has cores: the fast tests wait for half of their time.
test: $(READY) ## everything: real training, real servers, a real browser
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

mutants: $(READY) ## take each check out in turn and see that a test notices (some minutes)
	$(BIN)/python tests/mutants/run.py

docs: $(READY) ## write the reference pages from the code
	$(BIN)/opswright skills --reference docs/reference
	$(BIN)/python tests/mutants/run.py --docs

site: $(READY) ## make the site of the documentation in build/site, offline; a warning is an error
	$(BIN)/python docs/site/build.py

screenshots: $(READY) ## take the pictures of the docs anew, on the workspace of a finished demo (minutes)
	$(BIN)/python docs/images/make.py .opswright

notebook: $(READY) ## run the notebook of the documentation and keep what came out (minutes)
	$(BIN)/python docs/notebooks/execute.py

clean: ## stop every process that was started here and remove .opswright
	@if test -x $(BIN)/opswright; then $(BIN)/opswright stop; fi
	rm -rf .opswright .pytest_cache .mypy_cache .ruff_cache build *.egg-info
