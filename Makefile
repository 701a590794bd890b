# tonelight. Everything is set up in .venv of this folder; nothing here needs root.
# A second call is quick: what is done leaves a stamp in .venv, and is done again when its lock file changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip --quiet --disable-pip-version-check

# Which board is this? 32-bit is asked of the system, not of the kernel: Raspberry Pi OS runs both mixed.
BOARD := $(shell tr -d '\0' 2>/dev/null </proc/device-tree/model)
LONG_BIT := $(shell getconf LONG_BIT)
TARGET := $(if $(filter 32,$(LONG_BIT)),pi-32bit,$(if $(findstring Raspberry Pi,$(BOARD)),pi,$(if \
  $(findstring Jetson,$(BOARD)),jetson,device)))
LOCK := edge/locks/$(TARGET).txt
# On a Raspberry Pi, apt's own numpy (32-bit) and GPIO library (Python 3.13) are used, and have to be seen.
VENV_ARGS := $(if $(filter pi%,$(TARGET)),--system-site-packages)

# Without a working Python, or in a checkout that was moved since, the environment is made anew.
$(shell test -x $(BIN)/python && grep -qxF '$(CURDIR)' $(VENV)/made 2>/dev/null || rm -f $(VENV)/made)

.PHONY: help run page workstation test board board-arm64 check demo lock clean
.DELETE_ON_ERROR:

help: ## show this list (the default)
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/device.stamp $(VENV)/tonelight.stamp ## listen to the microphone, or to the demo recording if there is none
	@$(BIN)/tonelight run --source auto

page: $(VENV)/device.stamp $(VENV)/tonelight.stamp ## the same, and to be seen at http://127.0.0.1:8730
	@$(BIN)/tonelight run --source auto --page

workstation: $(VENV)/workstation.stamp $(VENV)/tonelight.stamp ## set up what training needs, too (about 3 GB)

test: $(VENV)/workstation.stamp $(VENV)/tonelight.stamp ## run all the tests, of device side and workstation side
	@$(BIN)/python -m pytest -n 3

board: $(VENV)/workstation.stamp $(VENV)/tonelight.stamp ## the long tests on emulated boards, for docs/reliability.md (root)
	@$(BIN)/python -m tests.board.board_report

board-arm64: $(VENV)/workstation.stamp $(VENV)/tonelight.stamp ## the same on an emulated arm64 board, which takes longer
	@TONELIGHT_BOARD=1 TONELIGHT_BOARD_ARCH=arm64 $(BIN)/python -m pytest tests/board

check: $(VENV)/workstation.stamp $(VENV)/tonelight.stamp ## lint, formatting, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

demo: $(VENV)/device.stamp ## render edge/data/demo.flac anew (needs espeak-ng)
	@$(BIN)/python examples/make_demo.py

# Prints nothing, or why PYTHON cannot be used and the way out.
define FAULT
command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON): sudo apt install python3 python3-venv"; exit; }; \
$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
echo "tonelight needs Python 3.10 to 3.13, and $(PYTHON) is $$($(PYTHON) -V 2>&1):" \
"name another one, as in: make $(MAKECMDGOALS) PYTHON=python3.12"; exit; }; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || echo "$(PYTHON) cannot make virtual environments:" \
"sudo apt install $(notdir $(PYTHON))-venv"
endef

$(VENV)/made:
	$(eval FAULT := $(shell $(FAULT)))$(if $(FAULT),$(error $(FAULT)))
	@$(PYTHON) -m venv --clear $(VENV_ARGS) $(VENV)
	@echo '$(CURDIR)' >$@

$(VENV)/device.stamp: $(LOCK) $(VENV)/made
	@echo "Setting up the device side in $(VENV), from $(LOCK) ..."
	@$(PIP) install --use-pep517 --no-deps -r $(LOCK)
	@touch $@

$(VENV)/workstation.stamp: train_host/locks/workstation.txt $(VENV)/made
	@echo "Setting up the workstation and its test tools in $(VENV): about 3 GB with TensorFlow, some minutes ..."
	@$(PIP) install --use-pep517 --no-deps -r train_host/locks/workstation.txt
	@touch $@

$(VENV)/tonelight.stamp: pyproject.toml $(VENV)/made
	@$(PIP) install --no-deps -e .
	@touch $@

# The locks: exact versions with hashes, good for every machine and Python of their target (pi-32bit: one system, and
# no hashes, for its wheels come from apt and from piwheels.org). The device's versions are those the tests ran with.
# What is locked stays; to have a lock at its newest, delete it first.
UV := build/uv/bin/uv
COMPILE = $(UV) pip compile --quiet --custom-compile-command "make lock" --no-annotate --no-emit-index-url \
  pyproject.toml --constraint edge/locks/constraints.txt
EVERYWHERE := --universal --python-version 3.10 --generate-hashes
TESTED := --constraint train_host/locks/workstation.txt
# page, MQTT and metrics are a few small packages: there for everybody, and still until they are switched on
SERVICES := --extra web --extra mqtt --extra metrics

$(UV):
	@$(PYTHON) -m venv build/uv
	@build/uv/bin/python -m pip --quiet --disable-pip-version-check install 'uv>=0.5'

lock: $(UV) ## resolve the dependencies of pyproject.toml anew, and prove that the boards have a wheel of each
	$(COMPILE) $(EVERYWHERE) --extra train --extra jax --extra test \
	  -o train_host/locks/workstation.txt
	$(COMPILE) $(EVERYWHERE) $(TESTED) $(SERVICES) --extra gpiod -o edge/locks/device.txt
	$(COMPILE) $(EVERYWHERE) $(TESTED) $(SERVICES) --extra pi -o edge/locks/pi.txt
	$(COMPILE) $(EVERYWHERE) $(TESTED) $(SERVICES) --extra jetson -o edge/locks/jetson.txt
	$(COMPILE) --python-version 3.11 $(SERVICES) --extra pi --override edge/locks/pi-32bit.overrides.txt -o edge/locks/pi-32bit.txt
	@for lock in device pi jetson; do for python in 3.10 3.11 3.12 3.13; do \
	  echo "wheels for aarch64, Python $$python, of $$lock.txt"; \
	  $(UV) pip install --quiet --dry-run --no-deps --require-hashes --only-binary :all: --no-binary jetson-gpio \
	    --python-platform aarch64-manylinux_2_35 --python-version $$python --target build/nowhere \
	    -r edge/locks/$$lock.txt || exit 1; \
	done; done

clean: ## remove what `make` built: the environment and the caches (trainings in runs/ stay)
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find edge train_host tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
