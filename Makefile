# `make demo` and `make test` work on a machine that has Python 3.10 or later and nothing else.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

# What is compiled once need not be compiled by each of a thousand inner runs.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test coverage pythons bench bench-short oldest lint readme docs gallery faults facts contract pages nightly
.PHONY: logic release threads coverage-report unmeasured
.PHONY: browser companions environments lint-page picture site-browser typescript schemathesis kernel dist new-user mutants clean

demo: $(VENV)/.demo  ## run the examples on the embedded sandbox
	$(VENV)/bin/pytest examples

test: $(VENV)/.dev  ## run the test suite
	$(VENV)/bin/pytest $(ON_TWO_CORES)

# Random inputs and many repeats, which coverage would slow down most, and what compares imports, stderr and secrets.
UNMEASURED := $(addprefix tests/,model client/test_fuzz.py client/test_list_cache.py faults/test_table.py \
	messages/test_shapes.py messages/test_size.py test_contract.py test_docs.py test_pages.py test_threads.py \
	$(addprefix plugin/test_,async.py guard_runs.py loading.py progress.py same_cause.py secrets.py \
	session_end.py sizes.py terminal_colour.py tracebacks.py))
coverage: $(VENV)/.dev  ## run the test suite, most of it measured, also in subprocesses; fail if too little is run
	$(VENV)/bin/coverage erase
	$(VENV)/bin/coverage run -m pytest $(ON_TWO_CORES) $(addprefix --ignore ,$(UNMEASURED))
	$(MAKE) --jobs 2 --output-sync=target coverage-report unmeasured

coverage-report:
	$(VENV)/bin/coverage combine --quiet
	$(VENV)/bin/coverage html --quiet --fail-under 0
	$(VENV)/bin/coverage report

unmeasured:
	$(VENV)/bin/pytest $(ON_TWO_CORES) $(UNMEASURED)

# More workers than cores, because many tests wait for a process.
ON_TWO_CORES := -n 3 --dist worksteal
logic: $(VENV)/.dev  ## run the fast tests of the logic: none starts a pytest or a sandbox of its own
	$(VENV)/bin/pytest $(ON_TWO_CORES) @tests/logic.txt

threads: $(VENV)-threads/.done  ## run each test of shared state, and of a user's suite, in 4 threads at the same time
	$(VENV)-threads/bin/pytest --parallel-threads 4 @tests/threads.txt
	$(VENV)-threads/bin/pytest --parallel-threads 4 --tlsandbox-guard leak $(addprefix examples/test_,guard.py jobs.py memory.py)

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

CASES ?= 500
schemathesis: $(VENV)-schemathesis/.done  ## send cases to the embedded sandbox, from its own OpenAPI
	CASES=$(CASES) $(VENV)-schemathesis/bin/pytest -q -s tests/local/routes_by_schemathesis.py

bench: $(VENV)/.dev  ## measure all that is promised about speed and memory, and write benchmarks/results.md
	$(VENV)/bin/python -m benchmarks

bench-short: $(VENV)/.dev  ## fail if a ratio is far over its target
	$(VENV)/bin/python -m benchmarks --short

companions: $(VENV)-companions/.done  ## run beside the plugins that suites have, each for real
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(VENV)-companions/bin/pytest -q -n 1 \
		-p xdist.plugin -p pytest_tlsandbox tests/companions/with_*.py

browser: $(VENV)-browser/.done  ## look at the timeline in a real Chromium, which is to be on PATH
	$(VENV)-browser/bin/pytest -q tests/browser/with_chromium.py

PAGE := $(addprefix pytest_tlsandbox/report/,chart.js details.js interaction.js)
lint-page:  ## format and lint the script of the report, which needs npm
	npx --yes prettier@3 --print-width 110 --no-bracket-spacing --log-level warn --check $(PAGE)
	cat $(PAGE) | npx --yes eslint@9 -c tools/eslint.config.mjs --stdin --stdin-filename report.js

# Needs Debian packages, which the message names; takes two minutes. KERNEL=/path/to/vmlinuz chooses a kernel.
kernel: $(VENV)/.dev  ## test the memory limit on cgroup v2 of a Debian kernel, in QEMU
	$(VENV)/bin/python tools/kernel.py

typescript:  ## use the embedded sandbox with the official TypeScript SDK, which needs npm
	cd tests/typescript && npm install --silent --no-audit --no-fund
	$(VENV)/bin/pytest -q tests/typescript/with_sdk.py

picture: $(VENV)-browser/.done  ## run the examples, and take the picture of them that the README shows
	$(VENV)-browser/bin/python tools/picture.py

dist: $(VENV)-release/.done  ## build the wheel and the sdist, and check both and the workflows
	rm -rf dist
	$(VENV)-release/bin/python -m build --no-isolation . >/dev/null
	$(VENV)-release/bin/python tools/check_dist.py
	$(VENV)-release/bin/twine check --strict dist/*
	$(VENV)-release/bin/zizmor --offline --quiet .github examples/ci

# TAG is the tag that is published; the workflow sets it.
release:  ## refuse what is not ready, build and check the rest, and print the steps that are left for a person
	$(PYTHON) tools/release.py $(TAG)
	$(MAKE) new-user
	$(PYTHON) tools/release.py --left

new-user: dist  ## try what a new user would: the wheel, its README, the workflow to copy
	$(PYTHON) tests/new_user.py dist/*.whl

readme: $(VENV)/.dev  ## run the README's test and paste what it prints
	$(VENV)/bin/python tools/readme.py

docs: $(VENV)-docs/.done  ## build the documentation site in build/site; fail at any warning
	$(VENV)-docs/bin/python tools/site.py
	$(VENV)-docs/bin/zensical build --strict

site-browser: docs $(VENV)-browser/.done  ## open each page of the documentation site in Chromium
	$(VENV)-browser/bin/pytest -q tests/browser/with_site.py

gallery: $(VENV)/.dev  ## run every kind of failure and write docs/reference/failures.md
	$(VENV)/bin/python tools/gallery.py

faults: $(VENV)/.dev  ## play every fault on every helper and write docs/contributing/faults.md
	$(VENV)/bin/python tools/faults.py

facts: $(VENV)/.dev  ## write the facts of the contract into docs/contributing/api-notes.md
	$(VENV)/bin/python tools/facts.py

contract: $(VENV)/.dev  ## check the facts about the API on a sandbox: make contract TARGET=<id, name or URL>
	$(VENV)/bin/python -m tests.contract $(TARGET)

pages: $(VENV)/.dev  ## fail if a page of the documents is not what the code does
	$(VENV)/bin/python tools/gallery.py --check
	$(VENV)/bin/python tools/faults.py --check
	$(VENV)/bin/python tools/facts.py --check

# All that `make test` and CI leave out or sample:
# - the tests marked slow: 69 of 78 rows of the table of faults, both whole rollouts, 10 of 11 ways to show secrets
#   and 4 of 6 traceback styles, the code and the commands of most pages of the documents, 8 of 13 ends of
#   a session, repeats of a run under xdist, with pytest-asyncio, by another signal, by another way to load the plugin,
#   larger loads
# - random histories: 400 sessions and 340 bodies in `make test`, 100,000 and 205,000 here
# - tests of shared state in several threads of pytest-run-parallel
# - schemathesis: 500 cases in CI, 2,000 here
# - the memory limit on cgroup v2, if QEMU and a Debian kernel are installed
# - on the oldest releases: in CI what calls other packages, here all but the logic and the documents
HISTORIES ?= 100000
nightly: $(VENV)/.dev  ## run every test, with 100,000 random histories
	HISTORIES=$(HISTORIES) $(VENV)/bin/pytest $(ON_TWO_CORES) -o faulthandler_timeout=0 -m ''
	$(MAKE) threads
	$(MAKE) schemathesis CASES=2000
	$(MAKE) typescript
	$(VENV)/bin/python tools/kernel.py --skip-if-missing
	$(MAKE) oldest ON_OLDEST='tests $(addprefix --ignore tests/,$(NOT_ON_OLDEST))'

mutants: $(VENV)-mutants/.done  ## change the code that decides results in every way, and see that a test fails
	HISTORIES=100 $(VENV)-mutants/bin/mutmut run
	$(VENV)-mutants/bin/python tools/mutants.py

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable '.[local]'
	touch $@

# Dependency groups need a pip from 2025.
$(VENV)/.pip: $(VENV)/.demo
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	touch $@

$(VENV)/.dev: $(VENV)/.pip
	$(PIP) install --quiet --no-compile --group dev
	touch $@

# What calls other packages: HTTP, models, retries, the embedded sandbox, hooks of pytest and of its plugins.
ON_OLDEST ?= $(addprefix tests/,test_async.py test_models.py test_on_local.py waiting/test_polling.py \
	$(addprefix client/test_,address.py api.py http_errors.py retry.py transport.py) \
	$(addprefix local/test_,bad_input.py files.py memory.py processes.py routes.py sdk.py server.py tunnel.py) \
	$(addprefix plugin/test_,async.py fixtures.py guard_runs.py loading.py tracebacks.py))
# Where all is run: without the documents, the logic, and what only takes long.
NOT_ON_OLDEST := waiting/conditions faults messages model test_docs.py test_pages.py \
	$(addprefix plugin/test_,progress.py session_end.py secrets.py)
oldest: $(VENV)-oldest/.done  ## run what uses other packages on the oldest releases that are promised
	$(VENV)-oldest/bin/pytest $(ON_TWO_CORES) $(ON_OLDEST)

# Each has an environment of its own: a pytest plugin beside the tests slows every inner run.
OWN := $(addprefix $(VENV)-,browser companions docs mutants oldest release schemathesis threads)
environments: $(addsuffix /.done,$(filter-out %mutants %threads,$(OWN)))  ## make those of CI: -j 3 makes them side by side

# The browser is that of the machine: none is fetched.
$(VENV)-browser/.done: NEEDS = --editable '.[local]' 'playwright>=1.49' 'pypdf>=5'
$(VENV)-companions/.done: NEEDS = --editable '.[local]' --requirement tests/companions/requirements.txt
$(VENV)-companions/.done: tests/companions/requirements.txt
# Zensical needs Python 3.11; ruff formats the signatures of the API.
$(VENV)-docs/.done: NEEDS = 'zensical>=0.0.73' 'mkdocstrings[python]>=1' ruff
$(VENV)-mutants/.done: NEEDS = --editable '.[local]' 'mutmut>=3.8'
$(VENV)-oldest/.done: NEEDS = --editable '.[local]' --requirement tests/oldest.txt
$(VENV)-oldest/.done: tests/oldest.txt
$(VENV)-release/.done: NEEDS = --group release
$(VENV)-schemathesis/.done: NEEDS = --editable '.[local]' 'schemathesis>=4.32'
$(VENV)-threads/.done: NEEDS = --editable '.[local]' hypothesis 'pytest-run-parallel>=0.10'

# What is never imported need not be compiled.
$(addsuffix /.done,$(OWN)): pyproject.toml | $(VENV)/.pip
	$(PYTHON) -m venv --without-pip $(@D)
	$(PIP) --python $(@D)/bin/python install --quiet --no-compile $(NEEDS)
	touch $@

clean:
	rm -rf $(VENV) $(OWN) $(addprefix .venv-,$(PYTHONS)) build dist htmlcov mutants
