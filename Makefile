# Everything a newcomer needs; each target does all the set-up it needs, and a second call starts at once.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
ROOT := $(CURDIR)
VENV := $(ROOT)/.venv
BIN := $(VENV)/bin
OK := $(VENV)/.ok

export LEVER_RAY_HOME ?= $(ROOT)/runs
export MLFLOW_TRACKING_URI ?= sqlite:///$(ROOT)/mlflow.db
export MLFLOW_DISABLE_TELEMETRY := true
export RAY_USAGE_STATS_ENABLED := 0
export RAY_AUTH_MODE := token
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER := 0
export PATH := $(BIN):$(PATH)

RAY_PORT ?= 6379
DASHBOARD_PORT ?= 8265
UI_PORT ?= 5000
CLUSTER := $(LEVER_RAY_HOME)/cluster
JOB ?= run_experiment
ARGS ?=

.PHONY: help demo test check faults bench ui cluster cluster-stop submit clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(OK): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("lever-ray needs Python 3.11 or newer; try: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@find lever_ray -name '*.nb[ic]' -delete
	@$(BIN)/python -c 'from lever_ray.app.kernels import compile_kernels; compile_kernels()'
	touch $@

demo: $(OK)  ## the main job: library, composition, experiment, tuning; a table and a link at the end
	@lever-ray demo $(ARGS)

test: $(OK) check  ## every check, then every test, a file at a time on each of two cores
	@pytest -n 2 --dist loadfile $(ARGS)

check: $(OK)  ## ruff, mypy, import contracts
	@ruff check .
	@mypy
	@lint-imports

faults: $(OK)  ## fault tests at full size: two writers and five readers for 30 s, 50 kills, 3,000 mutated files
	@LEVER_RAY_FAULT_SECONDS=30 LEVER_RAY_FAULT_KILLS=50 LEVER_RAY_FAULT_CASES=3000 LEVER_RAY_FAULT_SHARDS=100000 \
	  pytest -s tests/unit/test_library_{processes,attacks,damage,scale,no_pickle}.py $(ARGS)

bench: $(OK)  ## figures of speed as a table and as benchmarks/results/latest.json
	@python -m benchmarks $(ARGS)

ui: $(OK)  ## the MLflow UI on 127.0.0.1
	@lever-ray ui --port $(UI_PORT)

cluster: $(OK)  ## a Ray cluster of this machine alone: loopback sockets, token authentication
	@mkdir -p $(CLUSTER) && chmod 700 $(CLUSTER)
	@test -s $(CLUSTER)/token || (umask 077; python -c 'import secrets; print(secrets.token_hex(32))' > $(CLUSTER)/token)
	@if kill -0 $$(cat $(CLUSTER)/pid 2>/dev/null) 2>/dev/null; then echo "A cluster runs already; make cluster-stop ends it."; exit 1; fi
	@RAY_AUTH_TOKEN_PATH=$(CLUSTER)/token setsid nohup ray start --head --block --disable-usage-stats --node-ip-address=127.0.0.1 \
	  --port=$(RAY_PORT) --dashboard-host=127.0.0.1 --dashboard-port=$(DASHBOARD_PORT) > $(CLUSTER)/log 2>&1 < /dev/null & echo $$! > $(CLUSTER)/pid
	@for _ in $$(seq 60); do \
	  if RAY_AUTH_TOKEN_PATH=$(CLUSTER)/token ray job list --address http://127.0.0.1:$(DASHBOARD_PORT) > /dev/null 2>&1; then \
	    echo "Ray runs at 127.0.0.1:$(RAY_PORT), dashboard http://127.0.0.1:$(DASHBOARD_PORT); make submit JOB=run_experiment, make cluster-stop"; exit 0; fi; \
	  kill -0 $$(cat $(CLUSTER)/pid) 2>/dev/null || break; sleep 1; done; \
	  echo "The cluster did not start; the end of $(CLUSTER)/log:"; tail -5 $(CLUSTER)/log; exit 1

cluster-stop:  ## end the cluster that make cluster started
	@pid=$$(cat $(CLUSTER)/pid 2>/dev/null) && kill -0 -- -$$pid 2>/dev/null || { echo "No cluster of make cluster runs."; exit 0; }; \
	  kill -TERM -- -$$pid; for _ in $$(seq 10); do kill -0 -- -$$pid 2>/dev/null || break; sleep 1; done; \
	  kill -KILL -- -$$pid 2>/dev/null; rm -f $(CLUSTER)/pid; \
	  grep -qsx '127.0.0.1:$(RAY_PORT)' /tmp/ray/ray_current_cluster && rm -f /tmp/ray/ray_current_cluster; echo "Cluster ended."

submit: $(OK)  ## submit a job: make submit JOB=run_experiment ARGS="strategy.k=5"
	@test -f jobs/$(JOB).py || { echo "There is no job $(JOB); known: $$(cd jobs && ls *.py | sed 's/\.py//' | xargs)"; exit 2; }
	@python -c 'import socket; socket.create_connection(("127.0.0.1", $(DASHBOARD_PORT)), 3)' 2>/dev/null || \
	  { echo "No cluster answers at 127.0.0.1:$(DASHBOARD_PORT); start one with make cluster"; exit 2; }
	@RAY_AUTH_TOKEN_PATH=$(CLUSTER)/token ray job submit --address http://127.0.0.1:$(DASHBOARD_PORT) --working-dir . \
	  --runtime-env-json "$$(lever-ray runtime-env)" -- python jobs/$(JOB).py $(ARGS)

clean:  ## remove the environment and caches; results in runs/ stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find lever_ray jobs tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
