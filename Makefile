# make up     builds what is needed and brings the example application up, with traffic flowing through it
# make test   installs what the tests need and runs them all        (make fast: the fast ones, under a minute)
# make check  formatting, lint, types and architecture
# make lock   renews the lock files from pyproject.toml
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell scripts/best-python /usr/bin /usr/local/bin)
VENV := .venv
BIN := $(VENV)/bin
ENGINE := $(BIN)/fairlead-engine
CARGO := cargo --quiet

.PHONY: help up build test fast check lock clean
help:
	@sed -n 's/^# //p' Makefile

$(VENV)/.python: requirements.lock
	@echo "==> Python packages"
	@test -x $(BIN)/python || { python="$(PYTHON)"; echo "    with $$python"; $$python -m venv $(VENV) || { rm -f $(BIN)/python*; exit 1; }; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.python
	@echo "==> Python packages for development"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements-dev.lock
	@touch $@

$(VENV)/.built: $(VENV)/.python pyproject.toml engine/Cargo.toml engine/Cargo.lock $(shell find engine/src -name '*.rs')
	@echo "==> the engine (Rust; a first build takes some minutes)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --locked >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@$(BIN)/python -m compileall -q src  # where PYTHONDONTWRITEBYTECODE is set, every start would compile all of it again
	@touch $@

build: $(VENV)/.built

up: build
	@scripts/system-packages up
	@$(BIN)/fairlead up examples/my-app

test: $(VENV)/.dev build
	@scripts/system-packages test
	@scripts/kubectl $(CURDIR)/$(BIN)
	@scripts/helm $(CURDIR)/$(BIN)
	@scripts/h2spec $(CURDIR)/$(BIN)
	@cargo test --manifest-path engine/Cargo.toml --locked
	@FAIRLEAD_ENGINE=$(CURDIR)/$(ENGINE) PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m pytest -q

fast: $(VENV)/.dev build
	@FAIRLEAD_ENGINE=$(CURDIR)/$(ENGINE) PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m pytest -q -m 'not system' -x

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	cd engine && cargo fmt --check && cargo clippy --locked --all-targets -- -D warnings

lock: $(VENV)/.dev
	$(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --output-file requirements.lock pyproject.toml scripts/build-requirements.in
	$(BIN)/pip-compile --quiet --strip-extras --no-emit-index-url --no-emit-find-links --constraint requirements.lock --output-file requirements-dev.lock scripts/dev-requirements.in

clean:
	rm -rf $(VENV) engine/target
