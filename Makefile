# make demo   everything from nothing: installs, trains a small StyleGAN on the built-in portraits, draws pictures
# make test   installs the rest and runs the tests
# make lint   style, format, architecture

PYTHON ?= python3
BIN := .venv/bin

demo: .venv/installed
	$(BIN)/stylegan demo

test: .venv/installed-dev
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; call: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,all]'
	touch $@

clean:
	rm -rf .venv demo out

.PHONY: demo test lint clean
