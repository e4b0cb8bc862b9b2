# `make demo` and `make test` work on a machine that has Python 3.10 or later and nothing else.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: demo test lint readme clean

demo: $(VENV)/.demo  ## run the examples on the embedded sandbox
	$(VENV)/bin/pytest examples

test: $(VENV)/.dev  ## run the test suite
	$(VENV)/bin/pytest

lint: $(VENV)/.dev  ## format, lint, types, and who may import whom
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

.PHONY: schemathesis
schemathesis: $(VENV)/.dev  ## send 2,000 cases to the embedded sandbox
	SCHEMATHESIS_CASES=2000 $(VENV)/bin/pytest tests/local/test_openapi.py -q -s

readme: $(VENV)/.dev  ## run the README's test and paste what it prints
	$(VENV)/bin/python tools/readme.py

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable '.[local]'
	touch $@

# Dependency groups need a pip from 2025.
$(VENV)/.dev: $(VENV)/.demo
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	$(PIP) install --quiet --group dev
	touch $@

clean:
	rm -rf $(VENV) dist
