# Each target does all of its set-up: a virtual environment in .venv, packages pinned by
# constraints.txt, and no more of them than the target needs. Only Python >= 3.11 and make are
# taken for granted. Another Python: make PYTHON=python3.12 test

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest -n 2

# one thread per process: the workers of pytest share the cores
test test-all: export OMP_NUM_THREADS = 1
demo test test-all: export HF_HUB_OFFLINE ?= 1

.PHONY: help demo test test-all lint types format constraints clean

help:
	@echo "make demo      see the neurons that hold three facts      (ARGS='--model NAME' for another model)"
	@echo "make test      check style, types and behaviour           (under 10 minutes on 2 cores)"
	@echo "make test-all  the same with the slow tests"
	@echo "make lint | types | format | constraints | clean"

demo: $(VENV)/.core
	$(BIN)/vesalius demo $(ARGS)

test: lint types
	$(PYTEST) -m "not slow" $(ARGS)

test-all: lint types $(VENV)/.ray
	$(PYTEST) $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	@# the variable keeps pyright from asking the package index for a newer pyright
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pin what a fresh environment got. Build tags such as +cpu go: a pin must fit every machine.
constraints: $(VENV)/.dev
	$(PIP) --editable '.[dev,bench,ray]'
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --all --exclude-editable \
	  | sed '/^pip==/d; s/+[A-Za-z0-9.]*$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "vesalius needs Python 3.11 or newer as '$(PYTHON)'; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; \
	  exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { \
	  echo "this Python cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv"; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch comes first, so that its exact pin decides about everything that follows
$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --editable '.[dev]'
	@touch $@

# only the slow tests need Ray
$(VENV)/.ray: $(VENV)/.dev
	$(PIP) --editable '.[ray]'
	@touch $@
