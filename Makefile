# Everything this repository can do, one word each. `make` alone lists them; what comes behind `##` is the list.
#
# `make demo` and `make test` are all the set-up there is: the first one that is called makes .venv, installs from
# PyPI, and looks after a sandbox (scripts/setup says how). Paths are relative, so that a checkout may lie anywhere.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

PY := .venv/bin/python
WITH_SERVICES := scripts/services/all exec
# Byte code is worth its bytes here: without it every start of Python compiles everything again.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME

.PHONY: help demo test check docs services services-down soak clean distclean sandbox
.PHONY: bench bench-sandbox bench-store bench-durability bench-governance bench-steward

help: ## this list
	@echo 'ooda: agents that act on real systems through one governed door'
	@echo
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '  make %-17s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'Arguments go into ARGS: make test ARGS="tests/task -x", make demo ARGS=--mend.'
	@echo 'Another interpreter: make PYTHON=/path/to/python3.12 test.'

demo: .venv/.ready-run sandbox ## watch the coding agent mend a bundled project; needs no key
	@$(PY) -m ooda demo $(ARGS)

test: .venv/.ready-dev sandbox ## the test suite, with those services that run
	@$(WITH_SERVICES) $(PY) -m pytest $(ARGS)

check: .venv/.ready-dev ## format, lint, types, generated pages: what a commit must pass beside the tests
	@failed=0; \
	run() { echo "$$*"; "$$@" || failed=1; }; \
	run $(PY) -m ruff format --check --output-format concise .; \
	run $(PY) -m ruff check --output-format concise .; \
	run $(PY) -m mypy; \
	run $(PY) scripts/generate_reference.py --check; \
	exit $$failed

docs: .venv/.ready-dev ## write the reference pages anew from the code
	$(PY) scripts/generate_reference.py

services: ## start Docker, PostgreSQL, Redis and NATS for the tests (SERVICES="redis nats" for some)
	@scripts/services/all up $(SERVICES)

services-down: ## end what `make services` started, and remove its files
	@scripts/services/all down $(SERVICES)

bench: .venv/.ready-dev ## what a step costs beside a bare HTTP loop
	@scripts/bench core $(ARGS)

bench-sandbox: .venv/.ready-dev sandbox ## what the sandbox costs a command
	@$(WITH_SERVICES) scripts/bench sandbox $(ARGS)

bench-store: .venv/.ready-dev ## what a durable write costs beside a bare sync
	@scripts/bench store $(ARGS)

bench-durability: .venv/.ready-dev ## what a resume and a replay cost
	@scripts/bench durability $(ARGS)

bench-governance: .venv/.ready-dev ## what the gate and the ledger cost
	@scripts/bench governance $(ARGS)

bench-steward: .venv/.ready-dev ## what the steward decides, plans and reads
	@scripts/bench steward $(ARGS)

soak: .venv/.ready-dev sandbox ## the long tests: kills, races and fuzzing for as long as they take
	@$(WITH_SERVICES) $(PY) -m pytest -m soak $(ARGS)

clean: ## remove caches and builds
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean services-down ## remove the environment and the services' files too
	rm -rf .venv

sandbox:
	@scripts/setup sandbox

# Two installs, as whoever wants to see the demo should not wait for a type checker.
.venv/.ready-%: pyproject.toml scripts/setup
	@scripts/setup $*
	@touch $@
