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

VENV := .venv
BIN  := $(VENV)/bin

.PHONY: run notebooks lab test clip benchmark clean

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

run: $(VENV)/installed
	$(BIN)/python -m vdalib run --preset $(PRESET) --run-dir "$(RUN)" $(if $(DATA),--data "$(DATA)") $(SET)

notebooks: $(VENV)/installed
	$(BIN)/python -m vdalib notebooks

lab: $(VENV)/installed
	$(BIN)/jupyter lab notebooks

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

clip: $(VENV)/installed
	$(BIN)/python -m vdalib pretrain-clip

benchmark: $(VENV)/installed
	$(BIN)/python benchmarks/step.py --preset $(PRESET) $(if $(DATA),data.root=$(DATA))

clean:
	rm -rf $(VENV) runs
