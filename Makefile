# Everything a newcomer needs: `make run`, `make test`. Extra arguments go through ARGS, another interpreter through PYTHON:
#   make run ARGS="seed=0,1,2 budget.flop=1e10"
#   make test PYTHON=python3.12
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# pyright is pinned; it need not look for a newer self.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: run study test lint bench
.DEFAULT_GOAL := run

run: .venv/.stamp
	@$(BIN)/python -m experiments run flocking model=neural_ode $(ARGS)

# Ten minutes: two tasks, three models, three sizes, three seeds, and the verdict.
study: .venv/.stamp
	@$(BIN)/python -m experiments sweep study=quick $(ARGS)
	@$(BIN)/python -m experiments report study=quick

test: lint
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

lint: .venv/.all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv/.stamp
	$(BIN)/python -m benchmarks $(ARGS)

# What only tests and types need: the engines of a cluster, and the TPU compiler, which runs on any Linux machine of this kind.
.venv/.all: .venv/.stamp
	@extras=dev,cluster; test "$$(uname -s)-$$(uname -m)" != Linux-x86_64 || extras=$$extras,tpu; \
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[$$extras]"
	@# Alone: its systems are read from its source, for which it needs none of the packages that it depends on.
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --no-deps dysts
	@touch $@

# The stamp is written last, so an interrupted installation is taken up again.
.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is \
	needed, but $(PYTHON) is {v[0]}.{v[1]}: name another one, as in make run PYTHON=python3.12")'
	@echo "Setting up .venv (once; a few minutes) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
