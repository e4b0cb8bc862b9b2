#!/bin/sh
# run-python.sh test_loop.py 9803   (each file needs its own port if run at once)
cd "$(dirname "$0")/python" && env -u CI NO_COLOR=1 COLUMNS=200 timeout 500 ../venv/bin/python -m pytest -s --tb=short -rA -p no:cacheprovider "$1" --port "${2:-9803}"
