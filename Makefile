# The commands that people and CI run. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# The first interpreter that fits; override with make PYTHON=… .
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	2>/dev/null && { echo $$python; break; }; done)
BIN := .venv/bin
READY := .venv/.ready
# One fact in one place: the lock says which uv.
UV := $(shell sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)
EXTRAS := --extra train --extra serve --extra scale --extra dev
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url
GENERATE = $(BIN)/python -m grpc_tools.protoc -Iserving/wire=protos/ordinal/v1 \
	--python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) protos/ordinal/v1/ordinal.proto

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
		printf '  make %-13s %s\n' "$$name" "$$text"; done

$(READY): requirements.lock
	@[ -n "$(PYTHON)" ] || { echo "needs Python 3.11, 3.12 or 3.13 with its venv module" \
		"(Debian: apt install python3-venv)"; exit 1; }
	@[ "$$(uname -sm)" = "Linux x86_64" ] || { echo "needs Linux on x86-64, this is $$(uname -sm)"; exit 1; }
	@echo "making .venv from requirements.lock: some minutes and 3.5 GB, the first time only …"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.PHONY: demo
demo: $(READY) ## Train on scanned digits, serve the champion, ask it: the whole way in one command
	@$(BIN)/python examples/demo.py

# Debian's, which playwright drives. Where it cannot be installed the tests that need it are skipped, and say so.
.PHONY: browser
browser: ## Chromium, in which the pages are tested; installed where this user may
	@command -v chromium > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
		echo "installing Chromium, for the tests of pages …" && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium > /dev/null; } || \
		echo "no Chromium: tests of pages will be skipped (Debian: apt install chromium)"

.PHONY: test
test: $(READY) browser ## The tests, at most 10 minutes on two cores
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

.PHONY: test-all
test-all: $(READY) browser ## Those and the slow end-to-end ones, at most 50 minutes
	@$(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: check
check: $(READY) ## Format, lint, types, who imports whom, generated code
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest --quiet tests/test_boundaries.py
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call GENERATE,$$fresh) && \
		diff -r --exclude=__pycache__ --exclude=__init__.py "$$fresh/serving/wire" serving/wire || \
		{ echo "serving/wire is not what protos/ generates: run make protos"; exit 1; }
	@echo "check: all good"

.PHONY: docs
docs: $(READY) ## Make from the code: docs/losses.md and its pictures, docs/configuration.md, the JSON schema of manifests
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/configuration.py

.PHONY: bench
bench: $(READY) ## What a decision costs beside the network that it rests on
	@$(BIN)/python benchmarks/decision.py

.PHONY: bench-losses
bench-losses: $(READY) ## What a training step costs with each loss, beside Keras' own
	@$(BIN)/python benchmarks/losses.py
	@$(BIN)/python benchmarks/losses.py --cyclic

.PHONY: bench-training
bench-training: $(READY) ## What an epoch of training costs beside plain Keras and a loop by hand
	@$(BIN)/python benchmarks/training.py

.PHONY: bench-gpu
bench-gpu: $(READY) ## What a GPU brings to training and serving, and whether it answers as a CPU does; ARTIFACTS=paths of models
	@$(BIN)/python benchmarks/gpu.py $(ARTIFACTS)

.PHONY: bench-retraining
bench-retraining: $(READY) ## What a retraining costs beside its trainings, and what a second worker brings: half an hour
	@$(BIN)/python benchmarks/retraining.py

.PHONY: bench-scoring
bench-scoring: $(READY) ## What scoring a file costs beside a bare loop of onnxruntime, and the memory it takes
	@$(BIN)/python benchmarks/scoring.py

.PHONY: bench-mnist
bench-mnist: $(READY) ## Whether knowing the order helps on MNIST: docs/mnist.md; SOURCE=mnist or a folder of IDX files
	@$(BIN)/python benchmarks/mnist.py $(or $(SOURCE),mnist)
	@$(BIN)/python benchmarks/mnist_page.py

.PHONY: bench-trust
bench-trust: $(READY) ## What calibration, intervals and uncertainty bring: docs/trust.md; TABLES=a folder of CSV files
	@$(BIN)/python benchmarks/trust.py $(if $(TABLES),--tables $(TABLES))

.PHONY: format
format: $(READY) ## Format the code and mend what lint can mend
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

.PHONY: protos
protos: $(READY) ## Generate serving/wire from protos/
	@$(call GENERATE,.)

.PHONY: lock
lock: ## Resolve pyproject.toml anew into the locks
	@[ -x $(BIN)/uv ] || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv; }
	@$(COMPILE) $(EXTRAS) -o requirements.lock
	@for image in serve serve-gpu train-gpu; do \
		$(COMPILE) -c requirements.lock --extra $$image -o requirements-$$image.lock; done

.PHONY: clean
clean: ## Remove what tests and tools leave; keeps .venv, experiments and models
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
