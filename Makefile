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
EXTRAS := --extra train --extra serve --extra servers --extra scale --extra dev
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url
# Into the folder $(1): descriptors and types of all protos, which serving/wire/pool.py makes messages of, and
# the stubs of ordinal.v1.
PROTOC = $(BIN)/python -m grpc_tools.protoc -Iserving/wire=protos/ordinal/v1 -Iserving/wire=protos/inference/v2
GENERATE = mkdir -p $(1)/serving/wire && \
	$(PROTOC) --descriptor_set_out=$(1)/serving/wire/descriptors.binpb --pyi_out=$(1) \
		protos/ordinal/v1/ordinal.proto protos/inference/v2/inference.proto && \
	$(PROTOC) --grpc_python_out=$(1) protos/ordinal/v1/ordinal.proto
WRITTEN = __init__.py pool.py ordinal_pb2.py inference_pb2.py

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
		printf '  make %-16s %s\n' "$$name" "$$text"; done

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

# Debian's too.
.PHONY: prometheus
prometheus: ## Prometheus, by which alerts and dashboard are tested; installed where this user may
	@command -v promtool > /dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && \
		echo "installing Prometheus, for the tests of deploy/ …" && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus > /dev/null && \
		{ systemctl disable --now prometheus 2> /dev/null || true; }; } || \
		echo "no Prometheus: tests of deploy/ will be skipped (Debian: apt install prometheus)"

# Debian's too, whose package would make a cluster and start it, unless it is told not to.
.PHONY: postgres
postgres: ## PostgreSQL, for the stack and its tests; installed where this user may
	@ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1 || command -v initdb > /dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && echo "installing PostgreSQL …" && \
		no=/etc/postgresql-common/createcluster.d && mkdir -p $$no && \
		echo "create_main_cluster = false" > $$no/ordinal.conf && trap "rm -f $$no/ordinal.conf" EXIT && \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql > /dev/null; } || \
		echo "no PostgreSQL: tests of the stack will be skipped (Debian: apt install postgresql)"

.PHONY: stack
stack: $(READY) postgres prometheus ## Everything as plain processes: stores, MLflow, Prefect, the service; FOLDER=.stack
	@exec $(BIN)/python -m deploy.stack --folder $(or $(FOLDER),.stack)

.PHONY: test
test: $(READY) browser prometheus postgres ## The tests, at most 10 minutes on two cores
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# Slow tests wait for servers more than they compute, so that three at a time have room on two cores.
.PHONY: test-all
test-all: $(READY) browser prometheus postgres ## Those and the slow end-to-end ones, at most 50 minutes
	@$(BIN)/python -m pytest -n 3 --dist loadfile

.PHONY: check
check: $(READY) ## Format, lint, types, who imports whom, generated code
	@$(BIN)/ruff format --check --quiet . || { echo "not formatted: run make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest --quiet tests/test_boundaries.py
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call GENERATE,$$fresh) && \
		diff -r $(patsubst %,--exclude=%,__pycache__ $(WRITTEN)) "$$fresh/serving/wire" serving/wire || \
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

.PHONY: bench-ray
bench-ray: $(READY) ## What a second Ray node brings to a sweep, and what a cluster brings to scoring a file
	@$(BIN)/python benchmarks/ray_scoring.py
	@$(BIN)/python benchmarks/ray_sweep.py

.PHONY: bench-serving
bench-serving: $(READY) ## What a request costs the service, beside a bare echo and other servers; TABLES=some of them
	@$(BIN)/python benchmarks/serving/run.py $(TABLES)

.PHONY: bench-endurance
bench-endurance: $(READY) ## A million requests, mutated messages, dropped streams, with a journal: half an hour
	@$(BIN)/python benchmarks/serving/endurance.py

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

.PHONY: image-test
image-test: $(READY) ## Build images and run them for real; TARGETS=serve (the default), serve-gpu, train, train-gpu
	@$(BIN)/python deploy/images/check.py $(TARGETS)

# Without root or podman it says so in one sentence.
.PHONY: kubernetes-test
kubernetes-test: $(READY) ## The service's Kubernetes manifests, played for real by podman; MODEL=an .onnx file
	@deploy/kubernetes/play.sh $(MODEL)

.PHONY: up
up: ## The whole stack in containers (compose.yaml), until all of it is healthy; GPU=1 on a machine with one
	@GPU="$(GPU)" deploy/compose/run.sh up

.PHONY: down
down: ## End it; what it has learned stays in its volumes
	@GPU="$(GPU)" deploy/compose/run.sh down

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
	@for image in serve serve-gpu; do \
		$(COMPILE) -c requirements.lock --extra $$image -o requirements-$$image.lock; done
	@for image in train train-gpu; do \
		$(COMPILE) -c requirements.lock --extra $$image --extra servers -o requirements-$$image.lock; done

.PHONY: clean
clean: ## Remove what tests and tools leave; keeps .venv, experiments and models
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
