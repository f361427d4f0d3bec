# make lab    start the course in JupyterLab        make test   prove that every unit and every cell still holds
# CPU=1, GPU=1  which build of torch     PORT=8899   another port     PY=python3.12   another Python
PY   ?= python3
PORT ?= 8888
BIN  := .venv/bin

.PHONY: lab class slides test test-full test-oldest test-browser mutants notebooks site binder addresses benchmarks clean

# It asks for nothing that is there: a touched list, as after a pull, needs no network.
.venv/.ok: pyproject.toml tools/install.py
	@CPU=$(CPU) GPU=$(GPU) $(PY) tools/install.py
	@touch $@

lab: .venv/.ok  # the address it prints, or opens, is that of the first lesson, in a copy without outputs
	@$(BIN)/python tools/lessons.py
	@$(BIN)/jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.port=$(PORT) --ServerApp.root_dir=. \
	  --LabApp.default_url=/lab/tree/my-lessons/00_start_here.ipynb \
	  $$([ "$$(id -u)" != 0 ] || echo --allow-root) \
	  $$(command -v xdg-open open >/dev/null 2>&1 || echo --no-browser)

# Without outputs, tests and teacher's notes; TO=FOLDER writes it elsewhere.
class:  # the course as a folder to hand out
	@$(PY) tools/lessons.py "$(or $(TO),build/class)"

slides: .venv/.ok  # six slides for a first hour, in build/slides, from the lessons' own pictures
	@$(BIN)/python tools/slides.py

test: .venv/.ok  # on two cores, a file of tests or a lesson at a time
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-full: .venv/.ok  # the long cases too: every moment of a kill, every way to start a process
	@DLHELPERS_FULL=1 $(BIN)/python -m pytest

# On the oldest Python the lower bound of every dependency: what holds here and in .venv is what pyproject.toml promises.
.venv-oldest/.ok: pyproject.toml tests/oldest.py
	@$(PY) -c 'import sys; sys.exit(None if sys.version_info[:2] == (3, 11) else "The oldest versions are tried on Python 3.11; $(PY) is " + sys.version.split()[0] + ". Try: make PY=python3.11 test-oldest")'
	@$(PY) -m venv --clear .venv-oldest
	$(PY) tests/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	.venv-oldest/bin/python -m pip install --quiet --constraint .venv-oldest/constraints.txt --editable ".[course,test]"
	@touch $@

test-oldest: .venv-oldest/.ok  # the same on Python 3.11 and the oldest versions that pyproject.toml admits
	@.venv-oldest/bin/python -m pytest -n 2 --dist loadfile

test-browser: .venv/.ok  # every lesson in a real JupyterLab; `make test` takes one of them
	@DLHELPERS_FULL=1 $(BIN)/python -m pytest tests/test_browser.py tests/test_make_lab.py

mutants: .venv/.ok  # break the helpers in a hundred ways: does a lesson, does a test notice? about a quarter of an hour
	@$(BIN)/python tests/mutants.py

notebooks: .venv/.ok  # run the lessons anew and write their outputs
	@$(BIN)/python tests/run_notebooks.py

.venv/.site: .venv/.ok
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[site]"
	@touch $@

site: .venv/.site  # the lessons as static pages in build/site, built offline and checked
	@$(BIN)/python -m pytest -p no:nbval -o addopts="-ra" tests/test_site.py
	@echo "The pages are in build/site: open build/site/index.html"

.venv/.binder: .venv/.ok
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[binder]"
	@touch $@

binder: .venv/.binder  # what Binder would build; as root also each lesson in Binder's 2 GB, without a network
	@DLHELPERS_FULL=1 $(BIN)/python -m pytest -p no:nbval -o addopts="-ra" tests/test_binder.py

# REMOTE=1 takes the address and the branch from this clone.
addresses:  # write the course's address from pyproject.toml into every set-up cell, link and badge
	@$(PY) tools/addresses.py $(if $(REMOTE),--remote)

.venv/.bench: .venv/.ok
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	@touch $@

# ONLY=packing runs one of them, QUICK=1 tries each in a minute and leaves benchmarks/results alone.
ONLY ?= loop_overhead packed out_of_core packing study ddp
benchmarks: .venv/.bench  # side by side with peers, on a quiet machine; about twenty minutes
	@set -e; for name in $(ONLY); do echo; $(BIN)/python benchmarks/$$name.py $(if $(QUICK),--quick); done

clean:  # all but what learners wrote into my-lessons
	rm -rf .venv .venv-oldest build
