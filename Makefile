# make demo: the main job on built-in data. make test: lint, types, tests.
# Both create the environment first when it is not there.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SOURCES := search models datasets analysis tests

.PHONY: demo test test-slow test-machines soak bench bench-gpu docs format clean

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $(READY)

demo: $(READY)
	@if [ -f results/demo/specification.yaml ]; then \
		$(BIN)/fusion-search resume demo; \
	else \
		$(BIN)/fusion-search launch search/configs/demo.yaml; \
	fi
	$(BIN)/fusion-search draw grids demo --output results/demo/figures
	$(BIN)/fusion-search draw fusion demo --output results/demo/figures

test: $(READY)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy & types=$$!; $(BIN)/python -m pytest -n 2 --dist loadgroup; tests=$$?; \
		wait $$types || { echo "mypy: see above" >&2; exit 1; }; exit $$tests

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-machines: $(READY)
	$(BIN)/python -m pytest -m machines -s -rs tests/machines

soak: $(READY)
	PYTHONPATH=tests/support $(BIN)/python tests/faults/soak.py
	PYTHONPATH=tests/support $(BIN)/python tests/faults/asha_soak.py

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

bench-gpu: $(READY)
	$(BIN)/python -m tests.benchmarks.gpu

docs: $(READY)
	$(BIN)/python -m fusion_search.search.declaration.document docs

format: $(READY)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

clean:
	rm -rf .venv build ./*.egg-info
