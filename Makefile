# make train   meta-train in simulation, evaluate on held-out tasks (ARGS="--run NAME --set group.name=value" ...)
# make demo    trained weights of the package adapt to unseen tasks in simulation: a table, a video, a picture
# make test    every test but those of faults; prints the count
# make test-faults   real processes, real kills (minutes)
# make test-gpu      the learner on a GPU (a torch with CUDA is yours to install)
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ARGS ?=

# A child of another virtual environment inherits what the ROS wheels set there, and would load the wrong libraries.
ifdef _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport LD_LIBRARY_PATH
endif

.PHONY: help train demo demo-weights test test-faults test-gpu test-ros check format build clean install
help:
	@echo "make train | demo | test | test-faults | test-gpu | check | format | build | test-ros | clean      (README.md, CONTRIBUTING.md)"

install:
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON) here; install Python 3.10 or newer, or say make PYTHON=/path/to/python3" >&2; exit 2; }
	@VENV=$(VENV) $(PYTHON) tools/install.py

train: install
	@$(BIN)/meld train $(ARGS)

demo: install
	@$(BIN)/meld demo $(ARGS)

# Ship a run's final weights and certificate as the demo: make demo-weights RUN=runs/NAME
demo-weights: install
	@$(BIN)/python tools/demo_weights.py "$(RUN)"

test: install
	$(BIN)/python -m pytest -q test --ignore=test/faults --ignore=test/gpu $(ARGS)

test-faults: install
	$(BIN)/python -m pytest -q test/faults $(ARGS)

test-gpu: install
	$(BIN)/python -c "import torch; assert torch.cuda.is_available(), 'torch sees no GPU here'"
	$(BIN)/python -m pytest -q test/gpu $(ARGS)

test-ros: install
	@$(BIN)/python test/ros/launch_genuine.py

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

build: install
	$(BIN)/colcon build --symlink-install --base-paths .

clean:
	rm -rf build install log .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -not -path "./.venv/*" -exec rm -rf {} +
