# Two commands for a newcomer: `make demo` and `make test`. Everything lives in .venv; nothing is installed elsewhere.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS := 1
export PYTHONDONTWRITEBYTECODE :=  # tests start many processes: each would compile what it imports

.PHONY: demo test quick soak lint types check docs dist clean

demo: .venv/installed
	$(BIN)/safecompress compress examples/digits.toml --workers 2 --bench

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

quick: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

soak: .venv/installed
	$(BIN)/python tests/faults/soak.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

check: lint types test

docs: .venv/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	$(BIN)/python docs/tools/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: .venv/installed
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e ".[dev]"  # a third of it is imported, ever
	touch $@

clean:
	rm -rf .venv runs site .pytest_cache .mypy_cache .ruff_cache
