# On a new machine with Python 3.11, start with `make run` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin
YAML ?= components/yaml
ENGINE ?= $(shell command -v docker || command -v podman)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' ganlib/__init__.py)
LABEL = --label org.opencontainers.image
BUILD = $(ENGINE) build --file docker/Dockerfile $(LABEL).version=$(VERSION) $(LABEL).revision=$(shell git rev-parse HEAD)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test image image-gpu image-server image-kserve image-mlserver components every-pair lint format bench clean

run: .venv/train  ## The whole pipeline on the embedded digits, from data preparation to an exported model.
	$(BIN)/gan-pipelines run --preset digits

test: .venv/dev  ## The whole test suite, in two processes.
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

image:  ## Container image of the steps for CPUs.
	$(BUILD) --target cpu --tag gan-pipelines:$(VERSION)-python3.11 .

image-gpu:  ## Container image of the steps with CUDA.
	$(BUILD) --target gpu --tag gan-pipelines:$(VERSION)-python3.11-gpu .

image-server:  ## Container image of the MLflow server in docker/compose.yaml.
	$(BUILD) --target server --tag gan-pipelines-mlflow:$(VERSION) .

image-kserve:  ## Container image of KServe's own server for exported models.
	$(BUILD) --target kserve --tag gan-pipelines-kserve:$(VERSION) .

image-mlserver:  ## Container image of MLServer for exported models.
	$(BUILD) --target mlserver --tag gan-pipelines-mlserver:$(VERSION) .

components: .venv/train  ## The components of a release, with its image: IMAGE=REGISTRY/gan-pipelines@sha256:...
	@case "$(IMAGE)" in *@sha256:*) ;; *) \
		echo "error: expected IMAGE=NAME@sha256:..., since tags can move. Received: IMAGE=$(IMAGE)" >&2; exit 2;; esac
	$(BIN)/gan-pipelines compile --component all --image $(IMAGE) -o $(YAML)

every-pair: .venv/dev  ## Tests of every objective with every network, with and without labels, of every storage, server and image. Takes more than an hour.
	GAN_PIPELINES_EVERY_PAIR=1 $(BIN)/python -m pytest tests/test_family.py tests/test_task_contract.py tests/test_restoration.py \
		tests/test_translation.py tests/test_survival.py tests/test_registry.py tests/test_servers.py tests/test_measures.py \
		tests/test_halving.py -k "moves_its_own or replicas_make or resume or move_every_weight or each_kind_of_damage or \
		again_and_again or dies_refuses or onnxruntime_makes or every_server or as_published or trains_nothing_twice"

lint: .venv/dev  ## Formatting, lint and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/train  ## Speed and overhead of the pipeline; with DATA=folder, the table of presets, too, in two hours.
	$(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/pipeline_overhead.py
	$(if $(DATA),$(BIN)/python benchmarks/family.py --data $(DATA))

clean:
	rm -rf .venv

.venv/train: requirements/train.txt requirements/onnx.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -r requirements/train.txt
	$(PIP) --no-deps --editable .
	touch $@

.venv/dev: .venv/train requirements/dev.txt requirements/backends.txt
	$(PIP) -r requirements/dev.txt
	for pin in $$(grep -v '^#' requirements/backends.txt); do \
		$(PIP) --no-deps --upgrade --target .venv/backends/$$pin $$pin || exit 1; \
	done
	touch $@
