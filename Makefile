# make setup builds .venv; reproduce and test do it themselves when it is missing or the lock has changed.
EXPERIMENT ?= demo
PYTHON ?= python3
CORES ?= $(shell $(PYTHON) -c 'import os; print(os.cpu_count())')
# MB for all trainings at once: nine tenths of the machine's. One that asks for more runs alone.
MEMORY ?= $(shell $(PYTHON) -c 'import os; print(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10**7)')
RUN = .venv/bin/
STAMP = .venv/.installed
# Snakemake and papermill find each other, and the kernel, in the environment alone.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help setup reproduce rehearsal test test-long test-cluster test-browser chromium lab golden site clean lock

help:  ## the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## build .venv

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: name another with make PYTHON=python3.11" >&2; exit 1; }
	test -x $(RUN)python || $(PYTHON) -m venv .venv
	@echo "installing the locked packages into .venv (about 8 GB); this takes a few minutes"
	$(RUN)python -m pip install -qq --no-deps -r requirements.lock
	$(RUN)python -m pip install -qq --no-deps --no-build-isolation -e .
	touch $(STAMP)

# Not from the environment, where NAME may be the machine's.
CALLED = $(if $(filter command,$(origin NAME)),$(NAME))

SNAKEMAKE = $(RUN)snakemake --cores $(CORES) --resources mem_mb=$(MEMORY) --configfile

ifeq ($(EXPERIMENT),own)
# asc-kit train splits the recordings and chooses the settings; the folds are a workflow's jobs; it judges them.
OWN = results/$(or $(CALLED),own)
TRAIN = $(RUN)asc-kit train "$(DATA)" --out "$(OWN)" $(if $(filter-out all,$(CORES)),--workers $(CORES)) \
  $(if $(filter command,$(origin SEEDS)),--seeds $(SEEDS))
reproduce: setup
	@test -n "$(DATA)" || { echo "EXPERIMENT=own needs recordings: give DATA=folder" >&2; exit 1; }
	@test -z "$(RESPONSES)" || { echo "EXPERIMENT=own takes no RESPONSES" >&2; exit 1; }
	$(TRAIN) --plan
	$(SNAKEMAKE) "$(OWN)/recipe.yaml"
	$(TRAIN)
else
reproduce: setup  ## train and report an experiment: [EXPERIMENT=demo] [DATA=folder] [RESPONSES=folder] [NAME=mine] [CORES=4]
	$(SNAKEMAKE) config/$(EXPERIMENT).yaml \
	  $(if $(DATA)$(RESPONSES)$(CALLED),--config) $(if $(DATA),"dataset_root=$(shell realpath -ms -- "$(DATA)")") $(if $(CALLED),"name=$(CALLED)")$(if $(RESPONSES), "responses=$(shell realpath -ms -- "$(RESPONSES)")")
endif

# The report's experiment at its full size, with one epoch a system: one to four hours, and 24 GB in build/rehearsal.
rehearsal: setup  ## try the report's experiment on SYNTHETIC clips: [LISTS=folder] [WORK=folder] [SHARE=0.02] [CORES=4]
	$(RUN)python -m benchmarks.rehearsal --cores $(CORES) $(if $(LISTS),--lists "$(LISTS)") \
	  $(if $(WORK),--work "$(WORK)") $(if $(SHARE),--share $(SHARE))

test: setup  ## the tests, and every notebook
	$(RUN)python -m pytest

# What takes minutes, such as many kills of a run.
test-long: setup  ## the tests that take minutes
	$(RUN)python -m pytest -m long

# The demo through Slurm, on this machine alone: Debian, root.
test-cluster: setup  ## the demo through Slurm on this machine
	tests/cluster/run.sh

# The notebooks in JupyterLab and both pages in Debian's chromium; pictures in build/screenshots. The page that
# listens needs npm, which brings its runtime.
test-browser: chromium setup  ## the notebooks in JupyterLab, and the pages
	$(RUN)python -m pytest -n 0 -m browser tests/browser

chromium:
	@command -v chromium >/dev/null || { echo "chromium is not here: apt-get install chromium" >&2; exit 1; }

lab: setup  ## JupyterLab on the notebooks
	$(RUN)jupyter lab notebooks

# The committed outputs of all notebooks, made anew.
golden: setup  ## execute all notebooks but 11, and keep their outputs
	$(RUN)python -m tools.golden

# From what is committed; nothing is executed. Its generator has an environment of its own.
SITE = build/site-source
site: build/.venv-site/.installed  ## the documentation as web pages, in build/site
	rm -rf build/site $(SITE) && mkdir -p $(SITE)
	git ls-files -z LICENSE CITATION.cff CONTRIBUTING.md CHANGELOG.md docs notebooks results > build/site-files
	tar -c --null -T build/site-files | tar -x -C $(SITE)
	sed 's/^# asc_kit$$/# asc_kit\n\n```{toctree}\n:hidden:\ndocs\/contents\n```/' README.md > $(SITE)/index.md
	build/.venv-site/bin/sphinx-build -q -c $(SITE)/docs $(SITE) build/site
	cd $(SITE) && tar -c --exclude='*.safetensors' results notebooks | tar -x -C ../site  # what pages link to
	@echo build/site/index.html

build/.venv-site/.installed: docs/requirements.txt
	test -x build/.venv-site/bin/python || $(PYTHON) -m venv build/.venv-site
	build/.venv-site/bin/python -m pip install -qq -r docs/requirements.txt
	touch $@

# The demo's results and what was derived from data; the environment and other results stay.
clean:  ## remove the demo's results and what was derived from data
	rm -rf .snakemake .cache build asc_kit.egg-info results/demo results/demo-smoke

lock:  ## pin what pyproject.toml asks for
	uv pip compile --universal --python-version 3.11 --all-extras --no-annotate --no-header pyproject.toml -o requirements.lock
