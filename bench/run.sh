#!/bin/sh
# Measures execo: makes what it needs under bench/.envs, writes tables and charts to bench/results.  --help lists the options.
# PYTHON: interpreter to measure with, 3.10 or later (default: python3).
set -eu
bench=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$bench:$bench/..${PYTHONPATH:+:$PYTHONPATH}" exec "${PYTHON:-python3}" -m execobench "$@"
