# `make demo` and `make test` work on a machine that has Python 3.10 or later and nothing else.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: demo test pythons bench oldest lint readme reference gallery faults faults-slow nightly mutants
.PHONY: browser companions environments picture schemathesis dist clean

demo: $(VENV)/.demo  ## run the examples on the embedded sandbox
	$(VENV)/bin/pytest examples

test: $(VENV)/.dev  ## run the test suite
	$(VENV)/bin/pytest -n 2 --dist worksteal

PYTHONS := 3.10 3.11 3.12 3.13 3.14
pythons:  ## run the test suite on each supported Python that is installed
	for version in $(PYTHONS); do \
		command -v python$$version >/dev/null || { echo "skipped: no python$$version"; continue; }; \
		$(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit; \
	done

lint: $(VENV)/.dev  ## format, lint, types, and who may import whom
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/basedpyright
	$(VENV)/bin/lint-imports

schemathesis: $(VENV)-schemathesis/.done  ## send 2,000 cases to the embedded sandbox
	$(VENV)-schemathesis/bin/pytest -q -s tests/local/routes_by_schemathesis.py

bench: $(VENV)/.dev  ## measure all that is promised about speed and memory, and write benchmarks/results.md
	$(VENV)/bin/python -m benchmarks

companions: $(VENV)-companions/.done  ## run beside the plugins that suites have, each for real
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(VENV)-companions/bin/pytest -q -n 2 \
		-p xdist.plugin -p pytest_tlsandbox tests/companions/with_*.py

browser: $(VENV)-browser/.done  ## look at the timeline in a real Chromium, which is to be on PATH
	$(VENV)-browser/bin/pytest -q tests/browser/with_chromium.py

picture: $(VENV)-browser/.done  ## run the examples, and take the picture of them that the README shows
	$(VENV)-browser/bin/python tools/picture.py

dist: $(VENV)-release/.done  ## build the wheel and the sdist, and check both and the workflows
	rm -rf dist
	$(VENV)-release/bin/python -m build . >/dev/null
	$(VENV)-release/bin/python tools/check_dist.py
	$(VENV)-release/bin/twine check --strict dist/*
	$(VENV)-release/bin/zizmor --offline --quiet .github/workflows/*.yml examples/ci/*.yml

readme: $(VENV)/.dev  ## run the README's test and paste what it prints
	$(VENV)/bin/python tools/readme.py

reference: $(VENV)/.dev  ## write docs/reference.md from the code
	$(VENV)/bin/python tools/reference.py

gallery: $(VENV)/.dev  ## run every kind of failure and write docs/failures.md
	$(VENV)/bin/python tools/gallery.py

faults: $(VENV)/.dev  ## play every fault on every helper and write docs/faults.md
	$(VENV)/bin/python tools/faults.py

faults-slow: $(VENV)/.dev  ## ride out a rollout of 30 seconds
	$(VENV)/bin/pytest -m slow tests/faults

HISTORIES ?= 100000
nightly: $(VENV)/.dev  ## judge 100,000 random histories by every helper, and run what is marked slow
	$(VENV)/bin/pytest -n 2 -m slow tests/plugin
	HISTORIES=$(HISTORIES) $(VENV)/bin/pytest -n 2 -o faulthandler_timeout=0 tests/model

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

# Without what hangs on them least: the logic, the documents, and the slowest tests of the wiring.
NOT_ON_OLDEST := waiting/conditions faults messages model test_docs.py test_pages.py \
	$(addprefix plugin/test_,progress.py session_end.py secrets.py secrets_matrix.py)
oldest: $(VENV)-oldest/.done  ## run what uses other packages on the oldest releases that are promised
	$(VENV)-oldest/bin/pytest -n 2 --dist worksteal $(addprefix --ignore tests/,$(NOT_ON_OLDEST))

# Each has an environment of its own: a pytest plugin beside the tests slows every inner run.
OWN := $(addprefix $(VENV)-,browser companions mutants oldest release schemathesis)
environments: $(addsuffix /.done,$(filter-out %mutants,$(OWN)))  ## make those of CI: -j 3 makes them side by side

# The browser is that of the machine: none is fetched.
$(VENV)-browser/.done: NEEDS = --editable '.[local]' 'playwright>=1.49'
$(VENV)-companions/.done: NEEDS = --editable '.[local]' --requirement tests/companions/requirements.txt
$(VENV)-companions/.done: tests/companions/requirements.txt
$(VENV)-mutants/.done: NEEDS = 'mutmut>=3.8' 'pytest>=8.2' 'pydantic>=2.7' 'requests>=2.31' 'tenacity>=9'
$(VENV)-oldest/.done: NEEDS = --editable '.[local]' --requirement tests/oldest.txt
$(VENV)-oldest/.done: tests/oldest.txt
$(VENV)-release/.done: NEEDS = --group release
$(VENV)-schemathesis/.done: NEEDS = --editable '.[local]' 'schemathesis>=4.32'

$(addsuffix /.done,$(OWN)): pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(NEEDS)
	touch $@

clean:
	rm -rf $(VENV) $(OWN) $(addprefix .venv-,$(PYTHONS)) dist mutants
