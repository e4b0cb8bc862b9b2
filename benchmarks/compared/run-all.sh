#!/bin/sh
# everything again, about 3 minutes; writes out-*.txt
cd "$(dirname "$0")" || exit 1
./run-playwright-node.sh > out-playwright-node.txt 2>&1
./run-gomega.sh > out-gomega.txt 2>&1
./run-python.sh test_loop.py 9803 > out-loop.txt 2>&1
./run-python.sh test_locator.py 9804 > out-locator.txt 2>&1
./run-python.sh test_containers.py 9805 > out-containers.txt 2>&1
./run-python.sh test_infra.py 9807 > out-infra.txt 2>&1
