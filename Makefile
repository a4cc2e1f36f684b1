# The one door: build, demo, test, check, bench. Each makes what it needs; all that is needed beforehand is
# Python 3.11 or newer (with its headers and venv), a C compiler and make.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

C_FILES := $(wildcard native/src/*.c native/src/*.h native/include/*.h benchmarks/*.c packaging/bootloader/*.c)
FORMATTED_C := $(filter-out native/include/cdefs.h,$(C_FILES))
PYTHON_FOLDERS := $(wildcard appliance connectors native packaging benchmarks tests config)
CROSS_CC := $(shell command -v aarch64-linux-gnu-gcc 2>/dev/null)
SANITIZED := PYTHONPATH=build/sanitize BETTONG_SANITIZE=1 PYTHONMALLOC=malloc \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
    LD_PRELOAD="$$($${CC:-gcc} -print-file-name=libasan.so) $$($${CC:-gcc} -print-file-name=libubsan.so)"

# The frozen programs are made in an environment of their own, from exact versions. CLIENTS names the
# connectors' clients that go in; the lock file says which there are.
FROZEN := build/freeze
FROZEN_BIN := $(FROZEN)/venv/bin
CLIENTS ?= paho-mqtt

.PHONY: build demo test soak check bench format freeze programs freeze-twice deb test-frozen bench-frozen \
    check-format check-lint check-types check-tidy check-unit check-native check-cross clean

# Compiled ahead, so that the first start is no slower than the others.
build: $(INSTALLED)
	@$(BIN)/python native/bindings.py
	@$(BIN)/python -m compileall -q appliance connectors

# An editable install with pinned tools; the native module is built right afterwards, and whenever it is out of date.
$(INSTALLED): pyproject.toml setup.py native/backend.py
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check "setuptools>=77" "cffi>=1.16"
	BETTONG_SKIP_NATIVE=1 $(BIN)/python -m pip install -q --disable-pip-version-check \
	    --no-build-isolation --config-settings editable_mode=compat -e '.[dev]'
	@touch $@

demo: build
	@$(BIN)/bettong demo

test: build
	$(BIN)/python -m pytest -q tests --ignore tests/frozen

# The longer forms of the tests that kill, cut the power, let the disk fail and let sinks be away: all that
# have one ask for BETTONG_SOAK.
soak: build
	BETTONG_SOAK=1 $(BIN)/python -m pytest -q --durations=0 --durations-min=60 tests/crash \
	    $$(grep -rl --include='test_*.py' BETTONG_SOAK tests | grep -v '^tests/crash/')

check: check-format check-lint check-types check-tidy check-cross check-native check-unit

format: $(INSTALLED)
	$(BIN)/clang-format -i $(FORMATTED_C)
	$(BIN)/ruff format $(PYTHON_FOLDERS)
	$(BIN)/ruff check --fix $(PYTHON_FOLDERS)

check-format: $(INSTALLED)
	$(BIN)/clang-format --dry-run --Werror $(FORMATTED_C)
	$(BIN)/ruff format --check $(PYTHON_FOLDERS)

check-lint: $(INSTALLED)
	$(BIN)/ruff check $(PYTHON_FOLDERS)

check-types: $(INSTALLED)
	$(BIN)/mypy
	$(BIN)/mypy native/bindings.py native/backend.py
	$(BIN)/mypy packaging/freeze.py packaging/entry.py packaging/collect.py

check-tidy: $(INSTALLED)
	$(BIN)/python -m pytest -q tests/tidy

check-unit: build
	$(BIN)/python -m pytest -q tests/unit

# Our sources without a single warning, then the kernels' tests under the sanitizers, in a build of their own.
check-native: build
	@$(BIN)/python native/bindings.py --strict
	@BETTONG_SANITIZE=1 $(BIN)/python native/bindings.py --strict
	$(SANITIZED) $(BIN)/pytest -q tests/native

# Nothing may be x86-only: everything also compiles for 64-bit Arm where that compiler is to be had.
check-cross: build
ifeq ($(CROSS_CC),)
	@echo "check-cross: skipped, there is no aarch64-linux-gnu-gcc here"
else
	$(CROSS_CC) -std=c11 -O2 -Wall -Wextra -Werror -D_GNU_SOURCE -D_CFFI_NO_LIMITED_API -fsyntax-only \
	    -Inative/include -Ibuild/native/include \
	    -I$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))') native/src/*.c
endif

bench: build
	$(BIN)/python benchmarks/run.py

# One file and one folder that need no Python, and the package of the folder, in dist/.
freeze: programs deb

programs: build $(FROZEN)/.installed
	@BETTONG_CLIENTS="$(CLIENTS)" $(FROZEN_BIN)/python packaging/freeze.py

# Two builds of the same tree are the same bytes.
freeze-twice: programs
	@rm -rf $(FROZEN)/again
	@BETTONG_CLIENTS="$(CLIENTS)" $(FROZEN_BIN)/python packaging/freeze.py $(FROZEN)/again
	diff -r dist/bettong-folder $(FROZEN)/again/bettong-folder
	cmp dist/bettong $(FROZEN)/again/bettong
	for made in dist/bettong-*.tar.gz dist/bettong-*.cdx.json; do cmp $$made $(FROZEN)/again/$${made#dist/} || exit 1; done

# The folder as a Debian package with its service.
deb: programs
	@if command -v dpkg-deb >/dev/null; then $(BIN)/python packaging/deb/build.py; \
	else echo "deb: skipped, there is no dpkg-deb here"; fi

# The frozen programs on a box with nothing but the C library. Needs root, for a root folder of its own.
test-frozen: freeze
	$(BIN)/python -m pytest -q tests/frozen -rs

# Their sizes, starts and rest, into benchmarks/RESULTS.md.
bench-frozen: programs
	$(BIN)/python benchmarks/frozen.py

# The bootloader is compiled here, by its own switches: with zlib inside, so that libc is all that a box
# must have, and with our look at the folder that the one file unpacks into.
$(FROZEN)/.installed: packaging/requirements.lock packaging/bootloader/unpacking.c $(INSTALLED)
	rm -rf $(FROZEN)/venv
	$(BIN)/python -m venv $(FROZEN)/venv
	$(FROZEN_BIN)/python -m pip install -q --disable-pip-version-check -r packaging/requirements.lock
	$${CC:-cc} -std=c11 -O2 -D_GNU_SOURCE -Wall -Wextra -Werror -c packaging/bootloader/unpacking.c -o $(FROZEN)/unpacking.o
	PYINSTALLER_COMPILE_BOOTLOADER=1 PYI_STATIC_ZLIB=1 LDFLAGS="$(CURDIR)/$(FROZEN)/unpacking.o" \
	    PIP_CONSTRAINT="$(CURDIR)/packaging/requirements.lock" $(FROZEN_BIN)/python -m pip install -q --disable-pip-version-check \
	    --no-cache-dir --no-deps --force-reinstall --no-binary pyinstaller pyinstaller
	@touch $@

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache appliance/_native*.so
