# Needs nothing but make, on a Debian 12, as root: every target installs what it uses first.

.PHONY: demo test test-vm soak bench lint install proto clean

demo: install
	deploy/demo

test: lint
	.venv/bin/python -m pytest --vm

test-vm: install
	.venv/bin/python -m pytest --vm-only

# An hour of sessions and processes that come and go; make test has a minute of it.
soak: install
	PTRACED_SOAK_SECONDS=3600 .venv/bin/python -m pytest -s -o faulthandler_timeout=0 tests/kernel/test_soak.py

bench: install
	bench/run

# build/ptraced_VERSION_ARCHITECTURE.deb
deb: install
	.venv/bin/python deploy/package/build build

lint: install
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	proto/generate --check

install:
	@deploy/bootstrap

proto: install
	proto/generate

clean:
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
