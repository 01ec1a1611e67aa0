PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .cache/peers
# The modules that have a type stub, which are the compiled ones: tests/unit/test_stubs.py sees to that.
STUBBED = $(subst /,.,$(patsubst src/%.pyi,%,$(shell find src -name '*.pyi')))

.DEFAULT_GOAL := help
.PHONY: help build test test-assert sanitize sanitize-threads demo bench bench-peers lint docs peers clean

# The variants are whole packages of their own under build/, so that `make build` stays what it is.
OURS := tests/unit tests/system tests/simulation tests/fuzz
ASSERTED := build/assert
SANITIZED := build/sanitize
REPORTS := $(CURDIR)/$(SANITIZED)/reports
SANITIZERS := $(shell $(CC) -print-file-name=libasan.so) $(shell $(CC) -print-file-name=libubsan.so)
THREADED := tests/unit/test_data_plane.py tests/system/test_ipc.py tests/system/test_udp.py tests/system/test_abuse.py
THREAD_SANITIZED := build/sanitize-threads
# The interpreter's own memory is not ours to count, and what it allocates is to be seen byte by byte. A report goes to a
# file, because a test may start a process whose output and end it does not look at.
SANITIZER_ENV := LD_PRELOAD="$(SANITIZERS)" PYTHONMALLOC=malloc \
  ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:abort_on_error=1:strict_string_checks=1:log_path=$(REPORTS)/asan \
  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1:log_path=$(REPORTS)/ubsan

help:
	@echo "make demo   set up, then move a real file over shared memory and UDP and print a table"
	@echo "make test   set up, then run every test (real peers are skipped with the reason when absent)"
	@echo "make test-assert  the same without the real peers, with the assertions of the compiled core switched on"
	@echo "make sanitize     the same under the address sanitizer and that for undefined behaviour"
	@echo "make sanitize-threads  the tests of threads under the thread sanitizer"
	@echo "make peers  fetch the real Aeron (C through pyaeron, Java) for the interop tests"
	@echo "make bench  measure beside the peers there are, some minutes: keep the machine quiet; BENCH='--rows ipc' limits it"
	@echo "make lint   ruff, mypy, and the stubs compared with the compiled modules"
	@echo "make docs   build the documentation"
	@echo "make build  compile the core in place; PILLION_ONLY=pillion.a,pillion.b limits it"

$(VENV)/.tools: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "python3 is missing: apt-get install python3 python3-venv python3-dev"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install -q --upgrade "setuptools>=77" wheel "Cython>=3.1"
	@echo "../../../../src" > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pillion-src.pth
	@touch $@

# What tests and checks need; the demo goes without.
$(VENV)/.checks: $(VENV)/.tools
	$(BIN)/python -m pip install -q --upgrade "pytest>=8" "pytest-timeout>=2.3" "hypothesis>=6.100" "ruff>=0.6" "mypy>=1.18"
	@touch $@

build: $(VENV)/.tools
	flock .build.lock $(BIN)/python setup.py -q build_ext --inplace 2> .build.log || { cat .build.log; exit 1; }
	@$(BIN)/python -m compileall -q src/pillion  # so that start-up is what an installed package has

peers: $(VENV)/.tools
	$(BIN)/python tests/interop/peers/setup_peers.py $(PEERS)

test: build peers $(VENV)/.checks
	$(BIN)/python -m pytest -q

test-assert: $(VENV)/.checks
	PILLION_ASSERT=1 $(BIN)/python setup.py -q build --build-base $(ASSERTED) --build-lib $(ASSERTED)/lib
	@$(BIN)/python -m compileall -q $(ASSERTED)/lib
	PYTHONPATH=$(ASSERTED)/lib $(BIN)/python -c 'import pillion, sys; sys.exit("$(ASSERTED)" not in pillion.__file__)'
	PYTHONPATH=$(CURDIR)/$(ASSERTED)/lib $(BIN)/python -m pytest -q -p no:cacheprovider $(OURS) $(PYTEST_ARGS)

sanitize: $(VENV)/.checks
	PILLION_SANITIZE=address,undefined $(BIN)/python setup.py -q build --build-base $(SANITIZED) --build-lib $(SANITIZED)/lib
	@$(BIN)/python -m compileall -q $(SANITIZED)/lib
	rm -rf $(REPORTS) && mkdir -p $(REPORTS)
	$(SANITIZER_ENV) PYTHONPATH=$(CURDIR)/$(SANITIZED)/lib $(BIN)/python -m pytest -q -p no:cacheprovider --capture=sys $(OURS) $(PYTEST_ARGS)
	@test -z "$$(ls $(REPORTS))" || { cat $(REPORTS)/*; exit 1; }

# Without randomised addresses, which the thread sanitizer of gcc cannot place its own memory between.
sanitize-threads: $(VENV)/.tools
	PILLION_SANITIZE=thread $(BIN)/python setup.py -q build --build-base $(THREAD_SANITIZED) --build-lib $(THREAD_SANITIZED)/lib
	rm -rf $(THREAD_SANITIZED)/reports && mkdir -p $(THREAD_SANITIZED)/reports
	LD_PRELOAD="$(shell $(CC) -print-file-name=libtsan.so)" \
	  TSAN_OPTIONS=exitcode=0:log_path=$(CURDIR)/$(THREAD_SANITIZED)/reports/tsan \
	  PYTHONPATH=$(CURDIR)/$(THREAD_SANITIZED)/lib setarch -R \
	  $(BIN)/python -m pytest -q -p no:cacheprovider --capture=sys $(THREADED) $(PYTEST_ARGS)
	@test -z "$$(ls $(THREAD_SANITIZED)/reports)" || { cat $(THREAD_SANITIZED)/reports/*; exit 1; }

demo: build
	$(BIN)/python demo/demo.py

bench-peers: peers
	$(BIN)/python benchmarks/setup_peers.py

bench: build bench-peers
	$(BIN)/python -m benchmarks $(BENCH)

lint: build $(VENV)/.checks
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/stubtest $(STUBBED) --concise --ignore-disjoint-bases --ignore-unused-allowlist \
	  --allowlist tests/stubtest_allowlist.txt

docs: build
	$(BIN)/python -m pip install -q "sphinx>=7.3" furo "myst-parser>=3"
	$(BIN)/python -m sphinx -q -W -b html docs docs/_build/html

clean:
	rm -rf build docs/_build $(VENV) .cache
	find src -name '*.so' -delete
