# On a fresh machine with Python (3.11 or later) and make: `make demo`, `make test`; `make test-all` is the long form.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint docs kernels clean

demo: .venv/installed
	@mkdir -p demo
	$(BIN)/mdtool redact sample_media/crossing.mp4 sample_media/portrait.jpg -o demo --overwrite
	$(BIN)/mdtool redact sample_media/shapes.mp4 --model pocket --prompt "red circle" -o demo --overwrite
	$(BIN)/mdtool caption sample_media/scenes --model pocket
	@echo "Look at the results: $(CURDIR)/demo/crossing.mp4, $(CURDIR)/demo/portrait.jpg and $(CURDIR)/demo/shapes.mp4"

# One process a core; a test that takes long keeps only one of them busy.
TESTS := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

test: .venv/installed
	$(TESTS) -m "not slow and not live"

test-all: .venv/installed
	$(TESTS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed
	$(BIN)/python docs/generate.py

# The CPU kernels again, after a change in them.
kernels: .venv/installed
	$(BIN)/python setup.py --quiet build_ext --inplace

.venv/installed: pyproject.toml setup.py $(wildcard engine/kernels/native/*)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv demo build engine/kernels/_native.so
