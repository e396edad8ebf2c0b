# Needs make and a Python of 3.10 to 3.12; the rest is installed into .venv.
#   make quickstart   install, then train CLIP, SPARC, SPARC+ on scenes
#   make test         install what the tests need, then tests and lint
#   make clean        remove .venv
# Another Python: make test PYTHON=/path/to/python3.11

VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

FITS := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
# the first of these that is new enough and not too new
PYTHON ?= $(shell for name in python3 python3.12 python3.11 python3.10; do \
	$$name -c '$(FITS)' 2>/dev/null && echo $$name && break; done)

.PHONY: help quickstart test clean

help:
	@sed -n 's/^# \{0,1\}//p; /^$$/q' Makefile

quickstart: $(INSTALLED)
	$(RUN) tools/quickstart.py

test: $(INSTALLED_DEV)
	$(RUN) -m pytest tests --numprocesses auto --maxprocesses 4 \
		--dist worksteal

clean:
	rm -rf $(VENV)

$(RUN):
	@$(if $(PYTHON),,echo 'No Python of 3.10 to 3.12 found: install one, or\
	name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11'; exit 1)
	@$(PYTHON) -c '$(FITS)' || { echo 'Python 3.10 to 3.12 is needed, and' \
	'$(PYTHON) is none: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11'; \
	exit 1; }
	@# half an environment would pass for a whole one next time
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The stamps say when the last install went through; setup.py makes it stale.
# Python itself is only ordered before: its date is that of the system.
$(INSTALLED): setup.py | $(RUN)
	$(RUN) -m pip install --editable .
	@touch $@

$(INSTALLED_DEV): setup.py | $(RUN)
	$(RUN) -m pip install --editable '.[dev]'
	@touch $(INSTALLED) $@
