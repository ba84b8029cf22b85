# Two commands do all the set-up: `make demo` and `make test`. Each makes .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Threads of one process are set by the machine, not here; tests are small and run on one.
export TOKENIZERS_PARALLELISM ?= true

.PHONY: demo test test-slow check bench clean

demo: $(VENV)/search
	$(BIN)/lingxi search "where is a text cut when it is too long, and who is told?" README.md docs

test: $(VENV)/dev
	$(BIN)/python -m pytest

test-slow: $(VENV)/dev
	$(BIN)/python -m pytest -m slow

check: $(VENV)/dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

bench: $(VENV)/bench
	cd benchmarks && ../$(BIN)/python -m speed $(BENCH)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("lingxi needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/search: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[search]'
	touch $@

$(VENV)/dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/search

# The peers of the benchmark. One that does not install here does not keep the others away: the table names it.
PEERS := onnx onnxscript onnxruntime openvino nncf ctranslate2 fastembed xllamacpp
$(VENV)/bench: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --editable '.[peers,gguf]'
	for peer in $(PEERS); do $(BIN)/python -m pip install --quiet $$peer || echo "$$peer does not install here"; done
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info
