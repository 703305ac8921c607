# Each target is one line over the plain tool; `make` alone lists them.
PYTHON ?= python3.11
CORES ?= 2
CONFIG ?=
# The CPU build of PyTorch. On a GPU machine: make demo TORCH=torch==2.13.0
TORCH ?= torch==2.13.0+cpu
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := .venv/bin
SNAKEMAKE := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake $(if $(CONFIG),--configfile $(CONFIG)) --cores $(CORES)
# of one build of PyTorch; pip would take any build of a version for any other
INSTALLED := $(BIN)/.installed-$(subst =,-,$(TORCH))

.PHONY: help install demo test test-slurm lint report bench clean plan status recover soak fuzz audit

help:
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

# A local wheel or mirror serves the CPU build if there is one, else PyTorch's own index does.
$(INSTALLED): envs/requirements.txt envs/requirements-dev.txt envs/constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet "$(TORCH)" $(if $(findstring +cpu,$(TORCH)),2>/dev/null \
		|| $(BIN)/pip install --quiet "$(TORCH)" --index-url $(TORCH_INDEX))
	$(BIN)/pip install --quiet -r envs/requirements-dev.txt
	touch $@

install: $(INSTALLED)  ## create .venv with everything pinned

demo: install  ## the heads study on the demo data, from dumps to figures
	$(SNAKEMAKE) heads

# STUDY=heads asks about one study, DATA=FOLDER is the folder of real files.
ASKED = $(STUDY) $(if $(CONFIG),--configfile $(CONFIG)) $(if $(DATA),--config data_root=$(DATA))
status: install  ## what is done, running (how far), failed (why) and waiting; CONFIG=, STUDY=
	PYTHONPATH=workflow/src $(BIN)/python -m babelscope.status $(ASKED)

plan: install  ## jobs, hours and disk that a configuration costs; CONFIG=, STUDY=, GPU=a100
	PYTHONPATH=workflow/src $(BIN)/python -m babelscope.plan $(ASKED) $(if $(GPU),--gpu $(GPU))

recover: install  ## after a killed Snakemake: wait for its jobs (HOW=cancel: end them; none-left: see README), then the same command
	PYTHONPATH=workflow/src $(BIN)/python -m babelscope.recovery $(if $(HOW),--how $(HOW))

# A file's tests stay together, since they share what is costly; one thread each leaves cores to the others.
test: install  ## all tests but those on a cluster
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist loadfile -m "not slurm"

# The executor sees the packages of .venv, which has none of it: see envs/requirements-slurm.txt.
.venv-slurm/.installed: $(INSTALLED) envs/requirements-slurm.txt
	$(BIN)/python -m venv --without-pip .venv-slurm
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> .venv-slurm/lib/python3.11/site-packages/venv.pth
	$(BIN)/pip --python .venv-slurm/bin/python install --quiet -r envs/requirements-slurm.txt
	touch $@

test-slurm: .venv-slurm/.installed  ## tests on a Slurm of their own; root, Debian, installs its packages
	tests/slurm/cluster-up.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm; status=$$?; tests/slurm/cluster-down.sh; exit $$status

soak: install  ## the demo five times under random kills, and each time what an undisturbed run gives
	PYTHONPATH=workflow/src $(BIN)/python tests/soak.py --cores $(CORES) $(if $(CONFIG),--config $(CONFIG))

lint: install  ## every static check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(SNAKEMAKE) --lint

report: install  ## results/report.html, one self-contained file
	$(SNAKEMAKE)
	$(SNAKEMAKE) --report results/report.html

bench: install  ## every benchmark against its baseline
	$(BIN)/python -m benchmarks

fuzz: install  ## read damaged files for SECONDS=60 and print what is not one error; READER= for one
	PYTHONPATH=workflow/src $(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(if $(READER),--reader $(READER))

# Without a network, that is said.
audit:  ## known vulnerabilities of all that is pinned, by pip-audit in .venv-audit
	@$(PYTHON) tests/audit.py

clean:  ## delete what the workflow made
	find results -mindepth 1 ! -path results/README.md -delete && rm -rf .snakemake
