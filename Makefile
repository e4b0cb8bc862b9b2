# `make demo` and `make test` work on a machine that has Python 3.10 or later and nothing else.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: demo test bench oldest lint readme gallery faults faults-slow nightly mutants schemathesis clean

demo: $(VENV)/.demo  ## run the examples on the embedded sandbox
	$(VENV)/bin/pytest examples

test: $(VENV)/.dev  ## run the test suite
	$(VENV)/bin/pytest -n 2

lint: $(VENV)/.dev  ## format, lint, types, and who may import whom
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

schemathesis: $(VENV)-schemathesis/.done  ## send 2,000 cases to the embedded sandbox
	$(VENV)-schemathesis/bin/pytest -q -s tests/local/routes_by_schemathesis.py

bench: $(VENV)/.dev  ## measure all that is promised about speed and memory, and write benchmarks/results.md
	$(VENV)/bin/python -m benchmarks

readme: $(VENV)/.dev  ## run the README's test and paste what it prints
	$(VENV)/bin/python tools/readme.py

gallery: $(VENV)/.dev  ## run every kind of failure and write docs/failures.md
	$(VENV)/bin/python tools/gallery.py

faults: $(VENV)/.dev  ## play every fault on every helper and write docs/faults.md
	$(VENV)/bin/python tools/faults.py

faults-slow: $(VENV)/.dev  ## ride out a rollout of 30 seconds
	$(VENV)/bin/pytest -m slow tests/faults

HISTORIES ?= 100000
nightly: $(VENV)/.dev  ## judge 100,000 random histories by every helper
	HISTORIES=$(HISTORIES) $(VENV)/bin/pytest -n 2 tests/model

mutants: $(VENV)-mutants/.done  ## change the judging code in every way, and see that a test fails
	$(VENV)-mutants/bin/mutmut run
	$(VENV)-mutants/bin/python tools/mutants.py

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable '.[local]'
	touch $@

# Dependency groups need a pip from 2025.
$(VENV)/.dev: $(VENV)/.demo
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	$(PIP) install --quiet --group dev
	touch $@

oldest: $(VENV)-oldest/.done  ## run the test suite on the oldest releases that are promised
	$(VENV)-oldest/bin/pytest -n 2

$(VENV)-oldest/.done: pyproject.toml tests/oldest.txt
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[local]' --requirement tests/oldest.txt
	touch $@

$(VENV)-schemathesis/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)-schemathesis
	$(VENV)-schemathesis/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[local]' 'schemathesis>=4.32'
	touch $@

$(VENV)-mutants/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)-mutants
	$(VENV)-mutants/bin/python -m pip install --quiet --disable-pip-version-check \
		'mutmut>=3.8' 'pytest>=8.2' 'pydantic>=2.7' 'requests>=2.31' 'tenacity>=9'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-mutants mutants $(VENV)-schemathesis dist
