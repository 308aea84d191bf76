# A newcomer needs two: `make demo` and `make test`. `make` alone lists them all.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
WORKERS ?= 2
SETTINGS := pyproject.toml constraints.txt .ci/venv edge_runtime/exchange.c
VENV := .venv/bin/python
export TORCH_INDEX WORKERS
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## this list
	@echo "make <target>, in a checkout, with python3 (3.10-3.13), venv and make:"
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18
	@echo "PYTHON=python3.x picks the interpreter. Where pip's torch brings CUDA that you do not need,"
	@echo "TORCH_INDEX=URL names an index of CPU builds, such as pytorch.org's."

.PHONY: demo
demo: .venv/.export ## install, export the demo checkpoint, drive the simulated robot, report (runs/demo)
	@$(VENV) -m benchmarks.demo

.PHONY: test
test: .venv/.dev ## all tests, under 10 minutes on two cores
	@$(VENV) -m pytest -p no:benchmark -n $(WORKERS) --dist loadfile

.PHONY: lint
lint: .venv/.dev ## ruff, and mypy --strict on the four packages
	@$(VENV) -m ruff check --quiet .
	@$(VENV) -m mypy --no-error-summary

.PHONY: check
check: lint test ## lint, then all tests

.PHONY: mutants
mutants: .venv/.dev ## change the safety code in every small way; its tests must notice each
	@$(VENV) -m tests.mutants --workers $(WORKERS)

.PHONY: test-runtime
test-runtime: ## tests without torch on each Python of 3.10-3.13 that is here
	@bash .ci/test-runtime

.PHONY: bench
bench: .venv/.dev ## stage and deadline benchmarks against benchmarks/budgets.toml
	@$(VENV) -m benchmarks.bench

.PHONY: soak
soak: .venv/.dev ## a million control ticks on a simulated clock: memory flat, no drift, no lost event; about 6 minutes
	@$(VENV) -m benchmarks.soak

.PHONY: faults
faults: .venv/.dev ## break one thing after another under the simulated arm; hold what happens to bounds
	@$(VENV) -m benchmarks.faults

.PHONY: boot-test
boot-test: .venv/.export ## boot Debian with the package in a container; hang, kill, deploy to, upgrade it; root, 3 minutes
	@$(VENV) -m benchmarks.boot.nspawn

.PHONY: boot-test-arm64
boot-test-arm64: .venv/.dev ## boot the arm64 package on an emulated board with real drivers; root and qemu; about 10 minutes
	@$(VENV) -m benchmarks.boot.arm64

.PHONY: boot-test-ab
boot-test-ab: .venv/.dev ## update a PC with two system slots, badly, forged, with the power cut; root and qemu; about 25 minutes
	@$(VENV) -m benchmarks.boot.ab

.PHONY: compile-matrix
compile-matrix: .venv/.dev ## every graph of every family and precision through TensorRT-RTX for SM86; no GPU needed
	@$(VENV) -m benchmarks.compile_matrix

.PHONY: gpu-check
gpu-check: ## backends, answers and speed on this machine's NVIDIA GPU; OPTIONS="--model pi0"; skipped without one
	@test -n "$(PYTHON)" || { echo "no python3 of 3.10 to 3.13 found" >&2; exit 2; }
	@bash .ci/gpu-check $(PYTHON) $(OPTIONS)

.PHONY: seams
seams: .venv/.export ## how chunks are joined, by how long the policy takes: table, docs/seams.svg; up to 2 h, resumes
	@$(VENV) -m benchmarks.seams

.PHONY: demo-policy
demo-policy: .venv/.export ## train the demo checkpoint anew: up to 2 h on two cores, minutes on a GPU; resumes
	@$(VENV) -m benchmarks.demo.train

.PHONY: clean
clean: ## remove what was built and installed; keeps runs/
	@rm -rf .venv .venv-3.* .venv-gpu edge_runtime/*.so build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.%: $(SETTINGS)
	@test -n "$(PYTHON)" || { echo "no python3 of 3.10 to 3.13 found: sudo apt-get install python3 python3-venv" >&2; exit 2; }
	@bash .ci/venv $(PYTHON) .venv $*
	@touch $@
