# What a person types. `make` alone lists it. Works as root and as a user with sudo; says so where neither will do.

VENV      ?= .venv
PORT      ?= 8000
DEMO_DIR  ?= var/demo
JOBS      ?= $(shell nproc 2>/dev/null || echo 2)
TESTS     ?= tests
ONLY      ?=
SEED      ?=
KILLS     ?= 1000
COLUMN    ?= near
PYTHON    ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(name) 2>/dev/null)))

VERSION   := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BIN       := $(VENV)/bin
PIP       := $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.PHONY: help demo test check format lint types contracts tests bench morning kills parts softhsm screenshots translations lock sbom image release clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)$$/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

# --- what a newcomer wants ---------------------------------------------------------------------------------------------

demo: $(VENV)/demo.stamp softhsm ## a running vault with people, patients and documents on http://127.0.0.1:8000 (PORT=, DEMO_DIR=)
	@exec $(BIN)/coffre demo --directory "$(DEMO_DIR)" --port "$(PORT)"

test: $(VENV)/dev.stamp parts ## everything the tests need, then all tests (TESTS=tests/kms for a part)
	@COFFRE_EVERY_PART=1 $(MAKE) --no-print-directory tests

check: $(VENV)/dev.stamp parts ## what CI runs: format, lint, types, contracts, tests
	@$(MAKE) --no-print-directory format lint types contracts
	@COFFRE_EVERY_PART=1 $(MAKE) --no-print-directory tests

bench: $(VENV)/bench.stamp softhsm ## the benchmarks: a table on screen and var/bench.json (ONLY=seal,upload; FULL=1)
	@$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(if $(FULL),--full)

morning: $(VENV)/dev.stamp parts ## 200 files dropped into the inbox at once, traps among them, filed by keyboard in a browser (COLUMN=far)
	@COFFRE_MORNING_SCANS=194 $(BIN)/python -m pytest tests/journeys/test_inbox.py -q -p no:randomly -k "morning and $(COLUMN)"

kills: $(VENV)/dev.stamp parts ## kill the log's writer under load, on both databases, and count what is lost (KILLS=1000)
	@COFFRE_KILLS="$(KILLS)" $(BIN)/python -m pytest tests/vault/audit/test_durability.py -q -p no:randomly -m alone

# --- the parts of check ------------------------------------------------------------------------------------------------

format: $(VENV)/dev.stamp
	@$(BIN)/ruff format --check --quiet . || { echo "Run: $(BIN)/ruff format ."; exit 1; }

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check --quiet .

types: $(VENV)/dev.stamp
	@$(BIN)/mypy

contracts: $(VENV)/dev.stamp
	@$(BIN)/lint-imports --no-logo

tests: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest $(TESTS) -q -n $(JOBS) --dist loadgroup -m "not alone" $(SEED:%=--randomly-seed=%)
	@$(BIN)/python -m pytest $(TESTS) -q -m alone $(SEED:%=--randomly-seed=%)

# --- installing --------------------------------------------------------------------------------------------------------

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Coffre needs Python 3.11 or later, and no python3 is on the path." >&2; exit 3; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Coffre needs Python 3.11 or later; $(PYTHON) is older. Try: make PYTHON=/path/to/python3.11" >&2; exit 3; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || sh .ci/packages "python3-venv"
	@echo "Creating the Python environment in $(VENV)"
	@"$(PYTHON)" -m venv "$(VENV)"

$(VENV)/demo.stamp: requirements-demo.txt pyproject.toml | $(BIN)/python
	@echo "Installing the locked dependencies (about a minute)"
	@$(PIP) install --require-hashes --requirement requirements-demo.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing the locked dependencies, those of the tests included"
	@$(PIP) install --require-hashes --requirement requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/demo.stamp $@

$(VENV)/bench.stamp: requirements-bench.txt $(VENV)/dev.stamp
	@echo "Installing the peers that the benchmarks compare with"
	@$(PIP) install --require-hashes --requirement requirements-bench.txt
	@touch $@

softhsm:
	@sh softhsm/install.sh >/dev/null

parts: softhsm
	@command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || test -n "$$COFFRE_TEST_BROWSER" \
		|| sh .ci/packages chromium fonts-dejavu-core
	@ls -d /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || sh .ci/packages postgresql
	@command -v strace >/dev/null 2>&1 || sh .ci/packages strace
	@command -v certutil >/dev/null 2>&1 || sh .ci/packages libnss3-tools
	@command -v clamd >/dev/null 2>&1 || test -x /usr/sbin/clamd || test -x "$(VENV)/clamav/usr/sbin/clamd" \
		|| sh .ci/clamd "$(VENV)/clamav"
	@command -v pkcs11-tool >/dev/null 2>&1 || sh .ci/packages opensc

# --- for those who change it -------------------------------------------------------------------------------------------

screenshots: $(VENV)/dev.stamp parts ## the pictures of docs/screenshots, from a demo made for them
	@! dpkg-query -s chromium >/dev/null 2>&1 || sh .ci/packages chromium-l10n
	@$(BIN)/python -m tests.journeys.screenshots

translations: $(VENV)/dev.stamp ## collect the texts, set their typography, compile them, name what has no French yet
	@$(BIN)/python -m web.translations

lock: ## resolve the dependencies again (needs uv)
	@command -v uv >/dev/null 2>&1 || { echo "make lock needs uv: $(BIN)/python -m pip install uv" >&2; exit 3; }
	@for lock in dev bench demo ""; do \
		uv pip compile pyproject.toml $${lock:+--extra $$lock} $$( [ "$$lock" = dev ] || echo "--constraint requirements-dev.txt" ) \
			--universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate \
			--custom-compile-command "make lock" --quiet --output-file requirements$${lock:+-$$lock}.txt || exit 1; \
	done

sbom: $(VENV)/dev.stamp ## the list of what the runtime is made of: var/sbom.cdx.json (CycloneDX)
	@mkdir -p var
	@$(BIN)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-reproducible --of JSON -o var/sbom.cdx.json
	@echo "var/sbom.cdx.json"

image: ## build the container image coffre:VERSION with docker, podman or buildah
	@builder=$$(command -v docker || command -v podman || command -v buildah) \
		|| { echo "make image needs docker, podman or buildah." >&2; exit 3; }; \
	"$$builder" build --tag "coffre:$(VERSION)" .

release: $(VENV)/dev.stamp ## what is published, in dist/: wheel, source, SBOM, checksums; the same commit gives the same bytes
	@test -z "$$(git status --porcelain)" || { echo "Commit first: a release is made from a commit." >&2; exit 1; }
	@rm -rf dist build && mkdir dist
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@git archive --format=tar --prefix="coffre-$(VERSION)/" HEAD | gzip -n9 > "dist/coffre-$(VERSION).tar.gz"
	@$(MAKE) --no-print-directory sbom && cp var/sbom.cdx.json "dist/coffre-$(VERSION).cdx.json"
	@cd dist && sha256sum coffre-* > SHA256SUMS && cat SHA256SUMS

clean: ## remove caches and the Python environment; var/ (demo data) stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build dist
