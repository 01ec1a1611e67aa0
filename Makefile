PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: build
build: $(VENV)/.tools
	flock .build.lock $(BIN)/python setup.py -q build_ext --inplace

$(VENV)/.tools: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "setuptools>=77" wheel "Cython>=3.1" "pytest>=8" "pytest-timeout>=2.3" "hypothesis>=6.100" "numpy>=1.26" "click>=8.1" "rich>=13.7" "ruff>=0.6" "mypy>=1.11"
	echo "../../../../src" > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/pillion-src.pth
	touch $@
