# For a fresh machine: `make quickstart`, `make minigrid`, `make crafter` and `make test`. All of them build .venv/ once.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
QUICKSTART ?=
MINIGRID ?=
CRAFTER ?=

.PHONY: quickstart minigrid crafter test lint clean

quickstart: .venv/installed
	$(BIN)/swirl fit --config configs/quickstart.yaml $(QUICKSTART)

minigrid: .venv/installed-vision
	test -d worlds/minigrid || $(BIN)/swirl collect minigrid --out worlds/minigrid
	$(BIN)/swirl fit --config configs/minigrid.yaml $(MINIGRID)

crafter: .venv/installed-vision
	test -d worlds/crafter || $(BIN)/swirl collect crafter --out worlds/crafter
	$(BIN)/swirl fit --config configs/crafter.yaml $(CRAFTER)

test: .venv/installed-test lint
	$(BIN)/python -m pytest -n auto --dist loadfile # a process a core; the tests of a file stay together

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch first: with it installed, no other package asks for another build of it
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11 to 3.13 is needed, found " + sys.version.split()[0] + "; try: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) --editable .
	touch $@

.venv/installed-vision: .venv/installed
	$(PIP) --editable '.[vision]'
	touch $@

.venv/installed-test: .venv/installed
	$(PIP) --editable '.[test]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
