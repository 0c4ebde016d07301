# The front door. `make help` lists what there is.
# Every target that needs the virtual environment makes it first, and finds it again the next time.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
OUT ?= out
EDGE := solutions/phase4_production/video_analysis/edge_inference.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types docs check bench compare soak runtimes yardsticks clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv and install everything (torch alone is several GB; done once)

# --no-compile: Python compiles what it imports anyway, and torch has 20,000 files that nobody imports.
$(READY): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11 " + "$(MAKECMDGOALS)")'
	@echo "== creating $(VENV) and installing the pinned packages (several minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check --quiet --progress-bar off --no-compile -c .ci/constraints.txt -e ".[dev]"
	@touch $(READY)
	@echo "== ready: $(VENV)"

demo: $(READY) ## detect, track and classify the actors of a synthetic street, write an annotated video
	@mkdir -p $(OUT)
	$(PY) $(EDGE) --output $(OUT)/demo.mp4 --events $(OUT)/demo.jsonl --json $(OUT)/demo.json
	@echo "== look at $(OUT)/demo.mp4"

test: $(READY) ## run the tests
	$(PY) -m pytest

lint: $(READY) ## style: ruff format and lint
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

types: $(READY) ## types: mypy
	$(PY) -m mypy

docs: $(READY) ## documentation: links, commands and examples
	$(PY) -m pytest -q tests/meta/test_docs.py

check: lint types test ## everything a change must pass: ruff, mypy, pytest (documentation included)

bench: $(READY) ## measure this machine: the edge pipeline, int8; with MLI_DATA and `make yardsticks` also the tracker
	@mkdir -p $(OUT)
	$(PY) benchmarks/edge_bars.py --json $(OUT)/edge_bars.json
	$(PY) benchmarks/quantization_bars.py --json $(OUT)/quantization_bars.json
ifdef MLI_DATA
	$(PY) benchmarks/tracker_accuracy.py --json $(OUT)/tracker_accuracy.json
	$(PY) benchmarks/tracker_speed.py --json $(OUT)/tracker_speed.json
endif

compare: $(READY) ## every way to quantize, every format and the auto-tuner beside a full sweep, as pages (half an hour)
	@mkdir -p $(OUT)
	$(PY) benchmarks/compare_quantization.py --qat --json $(OUT)/compare_quantization.json --html $(OUT)/compare_quantization.html
	$(PY) benchmarks/benchmark_formats.py --json $(OUT)/benchmark_formats.json --html $(OUT)/benchmark_formats.html
	$(PY) benchmarks/tuner_sweep.py --json $(OUT)/tuner_sweep.json

soak: $(READY) ## long runs: memory and threads over many minutes
	$(PY) -m pytest -m soak --timeout 3600

runtimes: $(READY) ## the optional runtimes: OpenVINO, TensorFlow, TFLite, TensorRT-RTX (2.0 GB)
	$(PY) -m pip install --disable-pip-version-check --quiet --progress-bar off -c .ci/constraints.txt -e ".[openvino,tensorflow,tflite,tensorrt-rtx]"

yardsticks: $(READY) ## reference trackers and scorers to compare with (without their GUI build of OpenCV)
	$(PY) -m pip install --disable-pip-version-check --quiet --no-deps -r .ci/yardsticks.txt

clean: ## remove the virtual environment and what the runs wrote
	rm -rf $(VENV) $(OUT) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
