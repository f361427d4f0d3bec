# make lab    start the course in JupyterLab        make test   prove that every unit and every cell still holds
# CPU=1       take the small CPU build of torch     PORT=8899   another port     PY=python3.12   another Python
PY   ?= python3
PORT ?= 8888
BIN  := .venv/bin
TORCH_CPU := https://download.pytorch.org/whl/cpu

.PHONY: lab test test-browser notebooks benchmarks clean

# The stamp is written last, so a failed or interrupted install is never taken for a finished one.
.venv/.ok: pyproject.toml
	@$(PY) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "This course needs Python 3.11 or newer; $(PY) is " + sys.version.split()[0] + ". Try: make PY=python3.12 ...")'
	@test -e $@ || $(PY) -m venv --clear .venv
	@echo "Installing the course into .venv (once; a few minutes, most of them for torch) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
ifdef CPU
	$(BIN)/python -m pip install --quiet torch torchvision --index-url $(TORCH_CPU)
endif
	$(BIN)/python -m pip install --quiet --editable ".[course,test]"
	@touch $@

lab: .venv/.ok  # the address it prints, or opens, is that of the first lesson
	@$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.port=$(PORT) --ServerApp.root_dir=. \
	  --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
	  $$([ "$$(id -u)" != 0 ] || echo --allow-root) \
	  $$(command -v xdg-open open >/dev/null 2>&1 || echo --no-browser)

test: .venv/.ok
	@$(BIN)/python -m pytest

test-browser: .venv/.ok
	@$(BIN)/python -m pytest tests/test_browser.py

notebooks: .venv/.ok  # run the lessons anew and write their outputs
	@$(BIN)/python tests/run_notebooks.py

benchmarks: .venv/.ok
	@$(BIN)/python benchmarks/loop_overhead.py

clean:
	rm -rf .venv
