# bytegolf. `make demo` and `make test` need Python 3.11 or newer and nothing else; each step is done once.
# Another Python: make PYTHON=python3.12 demo. Works with GNU make 3.81 (macOS) and later.
# Another build of torch: make TORCH_ARGS="--index-url URL" demo, with the index that pytorch.org names for yours.

PYTHON = python3
TORCH_ARGS =
VENV = .venv
PY = $(VENV)/bin/python
PIP = $(PY) -m pip install --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL = help
.PHONY: help venv demo test lint bench clean

help:
	@echo "make demo    train, pack, score and show a small model: about ten minutes, the set-up included"
	@echo "make test    the whole test suite"
	@echo "make lint    ruff and mypy"
	@echo "make bench   how fast the parts are on this machine"
	@echo "make venv    set up $(VENV) for all of these; they do it themselves"
	@echo "make clean   remove $(VENV), caches and build products; runs/ stays"

venv: $(VENV)/.stamp-dev

demo: $(VENV)/.stamp-demo
	@$(PY) -m bytegolf demo

test: $(VENV)/.stamp-dev
	@$(PY) -m pytest -n auto --dist worksteal

lint: $(VENV)/.stamp-dev
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

bench: $(VENV)/.stamp-demo
	@for script in data build loader codec step score coding; do $(PY) benchmarks/$$script.py || exit 1; done

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "bytegolf needs Python 3.11 or newer, and $(PYTHON) is: `$(PYTHON) --version 2>&1`"; \
	  echo "  -> install one, then for example: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# torch comes first and alone, in the pinned version: pip then resolves the rest around it.
$(VENV)/.stamp-torch: $(VENV)/.stamp-python constraints.txt
	@echo "installing torch, the largest part: a minute or more"
	@$(PIP) $(TORCH_ARGS) "`grep '^torch==' constraints.txt`"
	@touch $@

$(VENV)/.stamp-demo: $(VENV)/.stamp-torch pyproject.toml
	@echo "installing bytegolf"
	@$(PIP) -c constraints.txt -e ".[baselines]"
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-demo
	@echo "installing the tools for tests and lint"
	@$(PIP) -c constraints.txt -e ".[dev,baselines]"
	@touch $@
