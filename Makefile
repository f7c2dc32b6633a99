# run · test · install · bench · lint — each sets itself up in .venv.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run install test lint bench bench-peers clean

run: install
	@$(BIN)/python -m app.development

install: .venv/.run

test: .venv/.test
	$(MAKE) --no-print-directory lint
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term

lint: .venv/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.test
	$(BIN)/python -m bench

bench-peers: .venv/.test
	$(BIN)/python -m bench.peers install

clean:
	rm -rf .venv .venv-peers build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage .coverage.*

.venv/.python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.run: .venv/.python setup.cfg
	$(PIP) install -e '.[local]'
	@touch $@

.venv/.test: .venv/.python setup.cfg
	$(PIP) install -e '.[local,test]'
	@touch .venv/.run $@
