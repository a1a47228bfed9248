# One verb each; CI calls the same. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install tune test quick soak lint check serve clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*##/\t/' | expand -t 10

install: $(INSTALLED)  ## virtual environment with the locked versions

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed; make PYTHON=python3.12"'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

tune: $(INSTALLED)  ## search; ARGS='--data DIR' for your own music
	$(BIN)/python -m genre_ray.tune $(ARGS)

serve: $(INSTALLED)  ## serve the newest best checkpoint on http://127.0.0.1:8000
	$(BIN)/genre-ray serve $(ARGS)

test: $(INSTALLED)  ## the tests, with whole searches, services and a browser: half an hour on two cores
	$(BIN)/python -m pytest $(ARGS)

quick: $(INSTALLED)  ## those that take seconds: 4 minutes
	$(BIN)/python -m pytest -m 'not slow and not soak' $(ARGS)

soak: $(INSTALLED)  ## the tests of many minutes: nodes and replicas that come and go, every typo, ten thousand damaged uploads
	$(BIN)/python -m pytest -m soak $(ARGS)

lint: $(INSTALLED)  ## ruff and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test  ## what CI runs

clean:  ## remove the virtual environment and caches
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
