# Every target works from a fresh clone with Python >= 3.11, git and network access.
# The first one that needs .venv creates it from constraints.txt, with pinned hashes.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=

# Prefer the newest Python that the pins are tested with. An interpreter is usable only
# if it runs (pyenv leaves shims that do not) and can create a virtual environment
# (Debian packages venv separately).
PYTHON_NAMES := python3.13 python3.12 python3.11 python3.14 python3
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
ifeq ($(origin PYTHON),undefined)
PYTHON = $(shell for name in $(PYTHON_NAMES); do \
  "$$name" -c "$(USABLE)" 2>/dev/null && echo "$$name" && break; done)
endif

.PHONY: help test lint format demo bench fuzz nix-real constraints venv clean

help:
	@echo "make test         run all tests on all cores (pass options in PYTEST_ARGS=…)"
	@echo "make lint         check formatting, ruff, mypy, import rules, README against --help"
	@echo "make format       format the sources, update the help block in README.md"
	@echo "make demo         run everything once on a throw-away fleet (10 seconds)"
	@echo "make bench        compare with age, sops and git, print a table (ten minutes)"
	@echo "make fuzz         run the property tests at length, then coverage-guided fuzzing"
	@echo "make nix-real     test with the real modules of agenix and sops-nix (clones them)"
	@echo "make constraints  resolve the dependencies and rewrite constraints.txt"

test: venv
	$(PY) -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

lint: venv
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -q tests/test_arrows.py
	$(PY) -m tests.readme_help
	$(PY) -m tests.size

format: venv
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .
	$(PY) -m tests.readme_help --write

demo: venv
	$(PY) -m tests.demo

# Ratios measured in one run on one machine; BENCH_ARGS="age sops" selects parts.
bench: venv
	@mkdir -p benchmarks/results
	$(PY) -m benchmarks --json benchmarks/results/latest.json $(BENCH_ARGS)

fuzz: venv
	HYPOTHESIS_PROFILE=fuzz $(PY) -m pytest -n auto -m hypothesis $(PYTEST_ARGS)
	$(PY) -m tests.fuzz $(FUZZ_ARGS)

# Sources that are already there: NIX_REAL_ARGS=FOLDER
nix-real: venv
	$(PY) -m tests.nix.real_modules $(NIX_REAL_ARGS)

venv: $(STAMP)

# Use `--clear` only if the interpreter is gone; otherwise update the environment in place.
$(STAMP): constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { \
	  echo "make: found no Python >= 3.11 with venv and ensurepip" >&2; \
	  echo "make: install one (Debian: python3-venv), or pass PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	test -x $(PY) || "$(PYTHON)" -m venv --clear $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check \
	  --require-hashes -r constraints.txt
	$(PY) -m pip install --quiet --disable-pip-version-check \
	  --no-deps --no-build-isolation -e .
	@touch $@

# uv is needed only here, so it gets its own environment.
constraints:
	$(PYTHON) -m venv $(VENV)-uv
	$(VENV)-uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	{ sed -n '/^#/!q;p' constraints.txt; \
	  $(VENV)-uv/bin/uv pip compile pyproject.toml --quiet --upgrade --universal \
	    --python-version 3.11 --all-extras --group dev --generate-hashes \
	    --no-emit-index-url --no-header; } > $(VENV)-uv/constraints.txt
	mv $(VENV)-uv/constraints.txt constraints.txt
	rm -rf $(VENV)-uv

clean:
	rm -rf $(VENV) $(VENV)-uv .mypy_cache .ruff_cache .pytest_cache .hypothesis
