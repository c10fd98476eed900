# On a fresh machine with Python (3.11 or later) and make: `make demo`, `make test`; `make test-all` is the long form.
PYTHON ?= python3
BIN := .venv/bin
# Options of pip: CI gives the versions that are locked in .ci/constraints.txt.
PIN ?=

.PHONY: demo test test-all lint docs kernels sanitize neon gpu fuzz kill leaks clean

demo: .venv/installed
	@mkdir -p demo
	$(BIN)/mdtool redact sample_media/crossing.mp4 sample_media/portrait.jpg -o demo --overwrite
	$(BIN)/mdtool redact sample_media/shapes.mp4 --model pocket --prompt "red circle" -o demo --overwrite
	$(BIN)/mdtool caption sample_media/scenes --model pocket
	@$(BIN)/python -c "from engine.kernels.library import kernels; print('Computed by', kernels().summary)"
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

# Tests of kernels built with sanitizers for addresses and undefined behaviour, by GCC on Linux, in a copy of the tree.
SANITIZED := build/sanitized
SANITIZE := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

sanitize: .venv/installed
	rm -rf $(SANITIZED)
	mkdir -p $(SANITIZED)
	cp -r engine mdtool recipes configs tests sample_media setup.py pyproject.toml README.md LICENSE NOTICE $(SANITIZED)
	cd $(SANITIZED) && CC=gcc CXX=g++ CXXFLAGS="$(SANITIZE)" LDFLAGS="$(SANITIZE)" \
		$(CURDIR)/$(BIN)/python setup.py --quiet build_ext --inplace --force
	cd $(SANITIZED) && PYTHONPATH=. ASAN_OPTIONS=detect_leaks=0:handle_segv=0 UBSAN_OPTIONS=print_stacktrace=1 \
		LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
		$(CURDIR)/$(BIN)/python -m pytest tests/engine/kernels

# NEON kernels against the portable ones on an emulator; needs Debian's g++-aarch64-linux-gnu and qemu-user.
NATIVE := engine/kernels/native
NEON := build/neon
ARM_CXX := aarch64-linux-gnu-g++ -std=c++17 -O2 -ffp-contract=off

neon:
	mkdir -p $(NEON)
	$(ARM_CXX) -march=armv8.2-a+dotprod -c $(NATIVE)/kernels_neon.cpp -o $(NEON)/kernels_neon.o
	$(ARM_CXX) -static $(NATIVE)/api.cpp $(NATIVE)/parallel.cpp $(NATIVE)/kernels_portable.cpp $(NEON)/kernels_neon.o \
		tests/engine/kernels/native/compare_with_portable.cpp -o $(NEON)/compare_with_portable
	qemu-aarch64 $(NEON)/compare_with_portable

# What a GPU computes and how fast, in less than eight minutes; the results are in gpu.json.
gpu: .venv/installed
	$(BIN)/python tests/engine/check_gpu.py --json gpu.json

# Damaged inputs of every format, kills at random moments, damaged clips with faces: docs/reliability.md. What is found lies
# in build/; FUZZ_SECONDS, KILL_SECONDS and LEAKS_SECONDS say how long (60), SEED which inputs.
SEED ?= 1
RELIABILITY := PYTHONPATH=.:tests/mdtool OMP_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1 HF_HUB_OFFLINE=1 \
	$(BIN)/python tests/reliability

fuzz: .venv/installed
	$(RELIABILITY)/fuzz.py --seed $(SEED)

kill: .venv/installed
	$(RELIABILITY)/kill.py --seed $(SEED)

leaks: .venv/installed
	$(RELIABILITY)/leaks.py --seed $(SEED)

.venv/installed: pyproject.toml setup.py $(wildcard engine/kernels/native/*)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIN) --editable '.[dev]'
	$(BIN)/python -m pip install --quiet $(PIN) --no-deps 'moondream>=2.6,<3' # its HTTP client; the rest would bring its engine
	@touch $@

clean:
	rm -rf .venv demo build engine/kernels/_native.so
