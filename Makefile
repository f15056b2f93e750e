# Needs nothing but make, on a Debian 12, as root: every target installs what it uses first.

.PHONY: demo test test-vm bench lint install proto clean

demo: install
	deploy/demo

test: lint
	.venv/bin/python -m pytest --vm

test-vm: install
	.venv/bin/python -m pytest --vm-only

bench: install
	bench/run

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
