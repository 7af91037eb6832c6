# Every target makes its own environment first, so that each of these works in a fresh clone.
#   make studio    open the studio (HOST=127.0.0.1 PORT=7860, the first free port if not given)
#   make test      run the tests   (PYTEST_ARGS="-m slow" for others; EXTRAS=dev,cluster for those of Ray, too;
#                                  TESTERS=0 in one process instead of two)
#   make check     format, lint, types, architecture
#   make bench     measure the runtime against PEFT
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?=
PYTEST_ARGS ?=
TESTERS ?= 2
EXTRAS ?= dev

bin := $(VENV)/bin
installed := $(VENV)/installed

.PHONY: studio test check bench
.DELETE_ON_ERROR:

studio: $(installed)
	$(bin)/loom studio --host $(HOST) $(if $(PORT),--port $(PORT))

test: $(installed)
	$(bin)/python -m pytest -n $(TESTERS) --dist worksteal $(PYTEST_ARGS)

# The folders are imported by other names than they have here; a type checker needs to see them under those.
check: $(installed)
	@mkdir -p build/typed/lora_loom
	@ln -sfn $(foreach folder,pipelines retrieval watermark studio,../../../$(folder)) $(addprefix ../../../lora_loom/,__init__.py py.typed) build/typed/lora_loom/
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/pyright --pythonpath $(bin)/python
	$(bin)/python -m pytest -q tests/test_architecture.py

bench: $(installed)
	$(bin)/loom bench runtime --json

$(installed): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Loom needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; set PYTHON=... to another one")'
	$(PYTHON) -m venv $(VENV)
	$(bin)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@
