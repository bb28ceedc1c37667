# Sets a clone up, tries it and tests it, with nothing but git, make and Python 3.11 or newer. `make` lists the targets.

.PHONY: help setup up down drill synth test lint types fmt lock clean
.DEFAULT_GOAL := help

# What is installed goes into .venv and is read from there, whatever the caller's environment says.
unexport PYTHONHOME PYTHONPATH
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The pinned Node comes with the Python packages; the CDK's own tool runs on it.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# new_venv FOLDER makes a virtual environment with the newest Python that really can (a pyenv shim may not run, a
# distribution's Python may lack venv or ensurepip) and defines `pip` for it.
define NEW_VENV
new_venv() {
  folder=$$1
  if [ -n "$${PYTHON:-}" ]; then set -- "$$PYTHON"; else set -- python3.14 python3.13 python3.12 python3.11 python3; fi
  for python; do
    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
    rm -rf "$$folder"
    if "$$python" -m venv "$$folder" >/dev/null 2>&1; then
      pip() { "$$folder/bin/python" -m pip --quiet --quiet --no-input "$$@"; }
      return
    fi
  done
  for python; do
    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
    rm -rf "$$folder"
    if "$$python" -m venv --without-pip "$$folder" >/dev/null 2>&1 &&
      "$$python" -m pip --python "$$folder/bin/python" --version >/dev/null 2>&1; then
      pip() { "$$python" -m pip --python "$$folder/bin/python" --quiet --quiet --no-input "$$@"; }
      return
    fi
  done
  rm -rf "$$folder"
  echo "Install Python 3.11 or newer with its venv and ensurepip modules (on Debian and Ubuntu: apt-get install" \
    "python3-venv), or name one that has them: make setup PYTHON=/path/to/python3" >&2
  exit 1
}
endef

# .venv/complete says of what the .venv was made. It is written last, so a .venv that was interrupted, has broken, was
# moved, or is of other requirements or another Python is made anew.
define SETUP
set -eu
$(NEW_VENV)
version='import sys; print(sys.version_info)'
made_of() { .venv/bin/python -c "import click, psycopg, pytest; $$version" && ls node_modules/.bin/cdk && pwd && cat requirements*.txt package-lock.json | cksum; }
if [ -s .venv/complete ] && [ "$$(made_of 2>/dev/null)" = "$$(cat .venv/complete)" ]; then
  [ -n "$${PYTHON:-}" ] && [ "$$("$$PYTHON" -c "$$version")" != "$$(head -n 1 .venv/complete)" ] || exit 0
fi
rm -f .venv/complete
new_venv .venv
echo "Installing the pinned requirements into .venv ($$(.venv/bin/python --version)) ..."
pip install --require-hashes --only-binary :all: -r requirements-dev.txt
# The project itself is used in place. Two lines do what an editable install would need a build for.
packages=$$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$$PWD" "$$PWD/lambdas" >"$$packages/loglineos.pth"
cat >.venv/bin/loglineos <<END
#!/bin/sh
exec "$$PWD/.venv/bin/python" -P -c 'import sys; from loglineos.cli import main; sys.argv[0] = "loglineos"; main()' \
  "\$$@"
END
chmod +x .venv/bin/loglineos
echo "Installing the CDK's own tool into node_modules ..."
.venv/bin/npm ci --no-audit --no-fund --loglevel=error >/dev/null
made_of >.venv/complete
echo "Installed: .venv/bin/loglineos"
endef
export SETUP

define LOCK
set -eu
$(NEW_VENV)
tools=$$(mktemp -d)
trap 'rm -rf "$$tools"' EXIT
new_venv "$$tools/venv"
pip install --only-binary :all: uv==0.13.9
for name in requirements-lambda requirements-archive requirements requirements-dev; do
  "$$tools/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-header --no-annotate $$name.in -o $$name.txt
  echo "$$name.txt is up to date with $$name.in"
done
endef
export LOCK

# The types are checked beside the tests, and the tests have a worker more than a small machine has processors: they
# wait for much of their time.
define CHECKS
.venv/bin/python -m mypy &
types=$$!
trap 'kill "$$types" 2>/dev/null' EXIT
trap 'exit 130' INT TERM
.venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
tests=$$?
wait "$$types" && exit "$$tests"
echo "The types are not right, as was told while the tests ran; make types tells it again." >&2
exit 1
endef
export CHECKS

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s  %s\n", $$1, $$2 }' Makefile

setup: ## install what is pinned into .venv, unless it is there
	@sh -c "$$SETUP"

up: setup ## start the local stack, deploy to it, boot a kernel
	@.venv/bin/loglineos up --demo

down: ## stop the local stack; its data stay
	@if [ -e .venv/complete ]; then .venv/bin/loglineos down; \
	elif [ -e .venv ] || ls .local/*/data/postmaster.pid >/dev/null 2>&1; then \
		echo "The installation is incomplete: make setup, then make down." >&2; exit 1; \
	else echo "Nothing is installed and nothing is up."; fi

drill: setup ## rehearse a recovery of the local stack, DATABASE_URL, or a backup (FOLDER), within MINUTES (30)
	@.venv/bin/loglineos drill $(FOLDER) --minutes $(or $(MINUTES),30)

test: lint ## run all checks: lint, types, tests
	@sh -c "$$CHECKS"

synth: setup ## synthesize the stacks of ENV (dev)
	@npx cdk synth -c env=$(or $(ENV),dev) --no-notices --quiet '*' && echo "Synthesized into cdk.out"

lint: setup ## check the style
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m ruff format --check .

types: setup ## check the types
	@.venv/bin/python -m mypy

fmt: setup ## put the style right, as far as that is mechanical
	@.venv/bin/python -m ruff check --fix .
	@.venv/bin/python -m ruff format .

lock: ## recompile requirements*.txt from requirements*.in
	@sh -c "$$LOCK"

clean: ## stop the local ledger, remove .venv and all caches; .local stays
	-@$(MAKE) --no-print-directory down
	@rm -rf .venv node_modules cdk.out .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	@find . -path ./.local -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ -e .local ]; then echo "Kept: .local, with the local ledger's data and passwords."; fi
