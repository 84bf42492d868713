# Everything starts here. `make demo` and `make test` need Python 3.11+ and make, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
FILE ?=

.PHONY: help demo up wheel test test-quick lint types contracts check bench reference docs screenshots clean

help: ## What there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed ## Drop a video (FILE=clip.mp4, or one that is made) into the inbox and watch what becomes of it
	@$(BIN)/mps demo $(if $(FILE),"$(FILE)")

up: $(VENV)/.installed ## Serve the Dagster UI and the daemons on 127.0.0.1
	@$(BIN)/mps up

wheel: $(VENV)/bin/python ## Build the package in dist/, to be installed without the checkout
	@rm -rf build
	@$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w dist .
	@ls dist/*.whl

# More than two cores can do at once: half of the tests' time is waiting for deployments and players. Of thousands that wait for
# browsers, servers and hosts, now and then one waits too long on a busy machine; it is run again, and the summary counts it.
test: $(VENV)/.installed-dev ## Run all tests
	$(BIN)/python -m pytest -n 3 --dist loadgroup --reruns 1

# Those of the API's description are left out by name: only to collect them takes ten seconds.
test-quick: $(VENV)/.installed-dev ## Run the tests that start no process, within a minute
	$(BIN)/python -m pytest -n 2 -m "not slow" --timeout 5 -p no:schemathesis --ignore tests/api/test_openapi.py

lint: $(VENV)/.installed-dev ## Style
	$(BIN)/ruff check mps_dagster tests bench docs
	$(BIN)/ruff format --check mps_dagster tests bench docs

types: $(VENV)/.installed-dev ## Types
	$(BIN)/mypy

contracts: $(VENV)/.installed-dev ## Which room may import which
	$(BIN)/lint-imports

check: lint types contracts test ## All of the above

# One after another: each wants the machine for itself. The last ones need the tests' dependencies (a server for S3 and SQS).
bench: $(VENV)/.installed-dev ## All benches: the workflow and a burst against a shell script, stills, idle load, queue (an hour)
	$(BIN)/python bench/workflow.py
	$(BIN)/python bench/ladder.py
	$(BIN)/python bench/burst.py
	$(BIN)/python bench/long_source.py
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/latency.py --workflows 200
	$(BIN)/python bench/steps.py --uploads 3 --idle-s 30
	$(BIN)/python bench/steps.py --uploads 1 --idle-s 60 --workflows 200
	$(BIN)/python bench/uploads.py --queue
	$(BIN)/python bench/progress.py
	$(BIN)/python bench/usage.py
	$(BIN)/python bench/pages.py

reference: $(VENV)/.installed-dev ## Write docs/reference from the models
	$(BIN)/python docs/generate.py

docs: $(VENV)/.installed-dev ## Build the documentation's site in build/site; a broken link is an error
	$(BIN)/zensical build --strict --clean

# Needs Chromium, which root gets from Debian.
screenshots: $(VENV)/.installed-dev ## Take docs/images again, on the demo
	$(BIN)/python docs/screenshots.py

clean: ## Remove what was installed; .mps (uploads, outputs, Dagster's records) stays
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@# Debian's python3 comes without ensurepip; then any of the other ways to a pip serves.
	@$(PYTHON) -m venv $(VENV) 2>/dev/null \
		|| { rm -rf $(VENV); $(PYTHON) -m virtualenv -q $(VENV) 2>/dev/null; } \
		|| { rm -rf $(VENV); uv venv -q --seed --python $(PYTHON) $(VENV) 2>/dev/null; } \
		|| { rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV) \
			&& $(PYTHON) -m pip -q --python $(VENV)/bin/python install pip; } \
		|| { rm -rf $(VENV); echo "$(PYTHON) can make no virtual environment: install python3-venv, or uv"; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing (a minute or two the first time) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed
