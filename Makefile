# Everything runs in .venv, with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo

.PHONY: demo test test-all site install clean

demo: .venv/installed
	$(BIN)/hwnas search --space mobilenet --data digits --device cpu --latency-budget 60% --out $(OUT)

test: .venv/tested
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

test-all: .venv/tested
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check --all

# The documentation as a site: open build/site/index.html.
site: .venv/tested
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/tested: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
