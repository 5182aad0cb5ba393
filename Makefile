# make demo   everything from nothing: installs, trains a small StyleGAN on the built-in portraits, draws pictures
# make test   installs the rest and runs the tests
# make lint   style, format, architecture
# make types  types of src/
# make docs   the site, in out/site
# make lock   chooses the versions of CI anew: requirements-ci.txt, with hashes (needs uv)

PYTHON ?= python3
BIN := .venv/bin

demo: .venv/installed
	$(BIN)/stylegan demo

test: .venv/installed-dev
	$(BIN)/python .ci/test.py

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types: .venv/installed-dev
	$(BIN)/mypy

docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; call: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml requirements-ci.txt
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-ci.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

lock:
	uv pip compile --quiet --universal --python-version 3.11.5 --generate-hashes --no-header --no-annotate \
		--constraint constraints.txt --extra dev --extra docs --extra all --output-file requirements-ci.txt pyproject.toml

clean:
	rm -rf .venv demo out

.PHONY: demo test lint types docs lock clean
