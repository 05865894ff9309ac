# Idle OpenMP threads that spin slow a busy machine down severalfold; this must be set before Python starts.
export OMP_WAIT_POLICY ?= PASSIVE

PYTHON ?= python3
# Processes that share the tests, a file at a time, each with one thread.
TEST_PROCESSES ?= 2
BIN := .venv/bin

.PHONY: quickstart test format install clean

quickstart: install  ## make .venv, install, and distil a classifier of digits without its data
	$(BIN)/understudy quickstart

test: install  ## make .venv, install, and run everything that CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

format: install  ## format, and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: .venv/installed

# The stamp keeps a second call from installing again; a changed requirement makes a new one.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
