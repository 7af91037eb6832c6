# Every target makes its own environment first, so that each of these works in a fresh clone.
#   make studio    open the studio (HOST=127.0.0.1 PORT=7860, the first free port if not given)
#   make test      run the tests   (PYTEST_ARGS="-m long" or "-m slow" for others; EXTRAS=dev,cluster for those of Ray, too;
#                                  TESTERS=0 in one process instead of two)
#   make check     format, lint, types, architecture
#   make generated renew the texts that are made from the code (`make check` says which are stale)
#   make bench     measure the runtime against PEFT
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?=
PYTEST_ARGS ?=
TESTERS ?= 2
EXTRAS ?= dev

comma := ,
bin := $(VENV)/bin
installed := $(VENV)/installed
for_tests := $(VENV)/installed-$(subst $(comma),-,$(EXTRAS))
folders := pipelines retrieval watermark studio
install = $(bin)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt -e

.PHONY: studio test check generated bench
.DELETE_ON_ERROR:

studio: $(installed)
	$(bin)/loom studio --host $(HOST) $(if $(PORT),--port $(PORT))

test: $(for_tests)
	$(bin)/python -m pytest -n $(TESTERS) --dist worksteal $(PYTEST_ARGS)

# The folders are imported by other names than they have here; a type checker needs to see them under those.
check: $(for_tests)
	@mkdir -p build/typed/lora_loom
	@ln -sfn $(addprefix ../../../,$(folders) lora_loom/__init__.py lora_loom/py.typed) build/typed/lora_loom/
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/pyright --pythonpath $(bin)/python
	$(bin)/python -m lora_loom.studio.cli.generated_texts --check
	$(bin)/python -m pytest -q tests/test_architecture.py

generated: $(installed)
	$(bin)/python -m lora_loom.studio.cli.generated_texts

bench: $(installed)
	$(bin)/loom bench runtime --json

# What the studio needs; the tests add the rest.
$(installed): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Loom needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; set PYTHON=... to another one")'
	$(PYTHON) -m venv $(VENV)
	$(install) .
	@touch $@

$(for_tests): $(installed)
	$(install) '.[$(EXTRAS)]'
	@touch $@
