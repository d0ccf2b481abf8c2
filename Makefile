# Everything a developer types.  `make demo` and `make test` need nothing but Python (>= 3.10) and OpenSSH's client.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
# More arguments for pytest: make test TESTS=tests/execo/test_process.py PYTEST_ARGS=-x
TESTS ?= tests
PYTEST_ARGS ?=

# A worker takes file after file, in the order that tests/conftest.py gives them.
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
PROJECTS = execo/pyproject.toml $(wildcard execo_engine/pyproject.toml execo_engine/setup.py execo_g5k/pyproject.toml execo_g5k/setup.py)
EDITABLE = -e './execo_engine[pandas,plot]' -e './execo_g5k[keyring,pandas,plot,postgresql,topology]'
CHECK_TOOLS = 'build>=1.2' 'mypy>=1.14' 'ruff>=0.9' types-networkx types-paramiko types-requests types-simplejson types-setuptools
DOC_TOOLS = 'sphinx>=7.3'
SYSTEM_PACKAGES = busybox fish git iproute2 munge nftables openssh-client openssh-server perl procps python3-venv slurm-client slurmctld \
    slurmd taktuk tcsh util-linux zsh
# A batch scheduler, for execo_g5k: oar-restful-api wants some server of HTTP, and mini-httpd, never started, is the smallest.
SYSTEM_PACKAGES_OAR = libxml-dumper-perl libyaml-perl libyaml-syck-perl mini-httpd oar-node oar-restful-api oar-server oar-server-pgsql \
    oar-user oar-user-pgsql postgresql
# Virtual machines: an emulator, and a small guest, whose kernel is unpacked in /opt/execo-guest and never installed.
SYSTEM_PACKAGES_VM = cpio dropbear-bin ipxe-qemu iputils-ping libvirt-clients libvirt-daemon libvirt-daemon-driver-qemu \
    libvirt-daemon-system netcat-openbsd qemu-system-x86 qemu-utils seabios
GUEST_KERNEL = linux-image-cloud-amd64
# For check-wheels: what takes most of the time says nothing of how it was packed: schedulers, guests, broken hosts, timing, logic.
WHEEL_TESTS = -k 'not fault and not kill and not real and not remote_and_taktuk and not postgresql and not testbed and not deploy \
    and not vm_ and not vmengine and not collocation and not campaign and not gridbox_ and not slurm and not sweeper \
    and not api_selection and not samples and not demo and not bench and not conftest and not packaging and not oarsite \
    and not quoting and not shared_connections and not start_at and not workflow and not model and not switched_off'

.DEFAULT_GOAL := help
.PHONY: help demo test develop check doc bench wheels check-wheels system-deps clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo           a campaign on a Grid'\''5000 in a box, whose jobs end, whose nodes die, which is killed and goes on'
	@echo 'make test           the tests; says what it skipped, and how to get it'
	@echo 'make develop        editable installs of the three packages and all tools in $(VENV)'
	@echo 'make check          ruff, mypy --strict, layers'
	@echo 'make doc            the documentation, in doc/_build/html'
	@echo 'make bench          the benchmarks, in bench/results'
	@echo 'make wheels         sdists and wheels, in dist'
	@echo 'make check-wheels   the tests against wheels installed in a fresh environment'
	@echo 'make system-deps    Debian packages that some tests need'
	@echo 'make clean          remove what these made'

# The environment, in stages, so that a first look installs little.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo 'Python 3.10 or later is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo '$(PYTHON) cannot make virtual environments with pip.' >&2; \
	      echo 'On Debian and Ubuntu: apt-get install python3-venv (or make system-deps)' >&2; exit 1; }
	$(PYTHON) -m venv '$(VENV)'
	@touch '$@'

$(VENV)/.demo: $(VENV)/.made $(PROJECTS)
	$(PIP) install -q -e './execo[localcluster]' -e './execo_engine[plot]' -e ./execo_g5k
	@touch '$@'

$(VENV)/.test: $(VENV)/.demo
	$(PIP) install -q -e './execo[localcluster,test]' $(EDITABLE)
	@touch '$@'

$(VENV)/.check: $(VENV)/.test
	$(PIP) install -q $(CHECK_TOOLS)
	@touch '$@'

$(VENV)/.doc: $(VENV)/.test
	$(PIP) install -q $(DOC_TOOLS)
	@touch '$@'

develop: $(VENV)/.check $(VENV)/.doc
	@echo 'ready: . $(BIN)/activate'

demo: $(VENV)/.demo
	$(BIN)/python doc/code_samples/demo.py

# Serial tests measure; they run apart.  5 is pytest's exit code when no test was selected.
test: $(VENV)/.test
	@mkdir -p build && rm -f build/skipped
	@status=0; export EXECO_SKIP_FILE='$(CURDIR)/build/skipped'; \
	$(BIN)/python -m pytest $(PARALLEL) -m 'not serial' $(PYTEST_ARGS) $(TESTS) || status=$$?; \
	[ $$status -ne 5 ] || status=0; \
	$(BIN)/python -m pytest -m serial $(PYTEST_ARGS) $(TESTS) || { code=$$?; [ $$code -eq 5 ] || status=$$code; }; \
	[ ! -s build/skipped ] || { echo 'In both runs:'; sort -u build/skipped; }; \
	[ $$status -eq 0 ] || echo 'make test: FAILED'; exit $$status

check: $(VENV)/.check
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy --python-version 3.10
	$(BIN)/python -m mypy --python-version 3.13
	$(BIN)/python -m pytest -q tests/test_layers.py

doc: $(VENV)/.doc
	@[ -e doc/conf.py ] || { echo 'no doc/conf.py' >&2; exit 1; }
	$(BIN)/python -m sphinx -W --keep-going -q -b html doc doc/_build/html
	@echo 'doc/_build/html/index.html'

bench: $(VENV)/.demo
	PYTHON='$(BIN)/python' bench/run.sh

# Each wheel is made from its sdist, which has no sibling folder, and so asks for exactly this version.
wheels: $(VENV)/.check
	rm -rf dist && mkdir -p build
	for package in execo execo_engine execo_g5k; do \
	    $(BIN)/python -m build --no-isolation --outdir dist ./$$package >build/wheels.log 2>&1 || { cat build/wheels.log; exit 1; }; \
	done
	@ls dist

# Outside of the source tree, with EXECO_INSTALLED=1: the run stops at once if it would test anything but the installed copies.
check-wheels: wheels
	rm -rf build/check-wheels && mkdir -p build/check-wheels/elsewhere
	$(BIN)/python -m venv build/check-wheels/venv
	set -- dist/execo-*.whl dist/execo_engine-*.whl dist/execo_g5k-*.whl && build/check-wheels/venv/bin/python -m pip --disable-pip-version-check install -q \
	    --find-links dist "$$1[localcluster,test]" "$$2[pandas,plot]" "$$3[keyring,pandas,plot,postgresql,topology]"
	cd build/check-wheels/elsewhere && EXECO_INSTALLED=1 ../venv/bin/python -m pytest -c ../../../pyproject.toml \
	    --rootdir ../../.. $(PARALLEL) -m 'not serial' $(WHEEL_TESTS) $(PYTEST_ARGS) \
	    $(addprefix ../../../,$(TESTS))

# Servers among them must not start: policy-rc.d says so to their packages, for as long as this takes.
system-deps:
	@command -v apt-get >/dev/null || { echo 'no apt-get: install $(SYSTEM_PACKAGES) $(SYSTEM_PACKAGES_OAR) $(SYSTEM_PACKAGES_VM) by other means' >&2; exit 1; }
	@sudo=; [ "$$(id -u)" -eq 0 ] || sudo=sudo; policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then \
	    trap "$$sudo rm -f $$policy" EXIT; trap 'exit 1' INT TERM; \
	    printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null && $$sudo chmod 755 $$policy || exit 1; \
	fi; set -x; \
	$$sudo apt-get -q update && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $(SYSTEM_PACKAGES) $(SYSTEM_PACKAGES_OAR) \
	    $(SYSTEM_PACKAGES_VM) && \
	{ [ -e /opt/execo-guest/boot ] || { folder=$$(mktemp -d) && cd "$$folder" && \
	    apt-get -q download "$$(apt-cache depends $(GUEST_KERNEL) | sed -n '/Depends: /{s///p;q}' | tr -d ' ')" && \
	    $$sudo dpkg-deb -x linux-image-*.deb /opt/execo-guest && rm -r "$$folder"; }; }

clean:
	rm -rf '$(VENV)' .tox build dist doc/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis \
	    *.egg-info execo/*.egg-info execo_engine/*.egg-info execo_g5k/*.egg-info
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
