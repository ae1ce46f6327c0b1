# Two commands on a fresh machine: make demo, make test. They need Python 3.11+ with venv, nothing else.
PYTHON ?= python3
VENV ?= .venv
OUT ?= demo
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SPARK := $(VENV)/.spark

.PHONY: demo quick test test-all fuzz check format endings arm clients clean
.DEFAULT_GOAL := help

help:
	@echo "make demo             the whole path on drawn feet, in minutes: $(OUT)/report.html"
	@echo "make demo DATA=DIR    the same on your own photographs"
	@echo "make quick            ruff, mypy and the tests that neither train nor convert, in 90 seconds"
	@echo "make test             ruff, mypy and the tests, in minutes"
	@echo "make test-all         what make test leaves out: slow tests, and numbers under other kernels"
	@echo "make endings          end commands at any moment, two at a time: benchmarks/results/endings.json"
	@echo "make fuzz             damaged files of every kind to all commands: SEED=1 COUNT=10000, in half an hour"
	@echo "make format           format the code"
	@echo "make arm              install what an emulated Arm processor and phones need (Debian, Ubuntu)"
	@echo "make clients          install other people's runtimes, for footseg verify (Debian, Ubuntu)"
	@echo "make clean            remove the virtual environment and caches"

demo: $(INSTALLED)
	$(BIN)/footseg demo --out "$(OUT)" $(if $(DATA),--data "$(DATA)")

# Two processes, a file of tests to one of them: most tests build graphs, which takes one core.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

quick: check
	$(PYTEST) -m "not heavy and not slow"

test: check $(SPARK)
	$(PYTEST) -m "not slow"

test-all: $(SPARK)
	$(PYTEST) -m slow
	$(BIN)/python -m tests.kernels

# Kept in build/fuzz: whole files, and a line for each damaged one that was tried, so that it goes on.
SEED ?= 1
COUNT ?= 10000
fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -P -m footseg.benchmarks.experiments.fuzz --work build/fuzz --seed $(SEED) --count $(COUNT)

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# 100 kills, 40 SIGTERM, pairs of commands on one folder, 60 Ctrl-C: an hour, and it goes on where it was stopped.
endings: $(INSTALLED)
	$(BIN)/python -P -m footseg.benchmarks.experiments.endings kills pairs ctrl-c --work endings

# QEMU, cross compiler and adb: footseg bench --on arm and --on android, and their tests.
arm:
	$(if $(filter 0,$(shell id -u)),,sudo) apt-get install -y --no-install-recommends $(strip $(file < android_harness/packages.txt))

# A GPU on the processor, a browser, npm; then an environment for each runtime that does not go with ours.
clients: $(INSTALLED)
	$(if $(filter 0,$(shell id -u)),,sudo) apt-get install -y --no-install-recommends $(strip $(file < export/clients/packages.txt) $(if $(shell command -v npm),,npm))
	$(BIN)/python -P -m footseg.export.clients.install

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache

$(INSTALLED): setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("footseg needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

# The tests of footseg search --spark need it (and Java 17 or newer); the rest does without its 450 MB.
$(SPARK): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[spark]'
	@touch $@
