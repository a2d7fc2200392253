# Two commands matter: `make run` and `make test`. Both make their own virtual environment first.
# Your own pictures: make run PRESET=folder DATA=DIR; settings by SET="data.on_bad_image=skip seed=1".
PYTHON ?= python3
PRESET ?= partworld
DATA   ?=
SET    ?=
RUN    ?= runs/$(PRESET)

# glibc would hand every large tensor back to the kernel and fault it in again.
export MALLOC_MMAP_MAX_ ?= 0
export MALLOC_TRIM_THRESHOLD_ ?= 100000000000
export MALLOC_TOP_PAD_ ?= 268435456

VENV ?= .venv
BIN  := $(VENV)/bin

.PHONY: run notebooks lab test lint book clip benchmark clean

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: %s is Python %d.%d, the workbook needs 3.10 or newer: make run PYTHON=python3.12" % (sys.executable, sys.version_info[0], sys.version_info[1]) if sys.version_info < (3, 10) else 0)'
	@echo "installing torch, JupyterLab and the rest into $(VENV): several GB on Linux, some minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --no-compile --editable ".[test]"
	@touch $@

run: $(VENV)/installed
	$(BIN)/vdalib run --preset $(PRESET) --run-dir "$(RUN)" $(if $(DATA),--data "$(DATA)") $(SET)

notebooks: $(VENV)/installed
	$(BIN)/vdalib notebooks

lab: $(VENV)/installed
	$(BIN)/jupyter lab notebooks

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

$(VENV)/book: $(VENV)/installed
	@$(BIN)/python -m pip install --quiet --no-compile --editable ".[book]"
	@touch $@

book: $(VENV)/book
	$(BIN)/python -m sphinx -b html -c docs -W --keep-going --quiet . build/book
	@echo "the book is build/book/index.html"

clip: $(VENV)/installed
	$(BIN)/vdalib pretrain-clip

benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/step.py --preset $(PRESET) $(if $(DATA),data.root=$(DATA))

clean:
	rm -rf $(VENV) runs build
