#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Black-box cases: run.py --server FIRN_SERVER [--stress off|pmem|nvme|random] [--quick] [test name...]; ends with "N passed, N failed"."""
import argparse
import os
import sys
import unittest

here = os.path.dirname(os.path.realpath(__file__))
parser = argparse.ArgumentParser()
parser.add_argument("--server", required=True)
parser.add_argument("--stress", default="off", choices=("off", "pmem", "nvme", "random"))
parser.add_argument("--quick", action="store_true", help="leave out what is slow under a sanitizer")
parser.add_argument("names", nargs="*")
options = parser.parse_args()
os.environ["FIRN_SERVER"] = os.path.abspath(options.server)
os.environ["FIRN_STRESS"] = options.stress
os.environ["FIRN_QUICK"] = "1" if options.quick else ""
sys.path.insert(0, here)
loader = unittest.TestLoader()
suite = loader.loadTestsFromNames(options.names) if options.names else loader.discover(here, "test_*.py")
result = unittest.TextTestRunner(verbosity=1, buffer=True).run(suite)
bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
for case, reason in result.skipped:
    print(f"skipped: {case}: {reason}")
print(f"black box [{options.stress}]: {max(0, result.testsRun - bad - len(result.skipped))} passed, {bad} failed")
sys.exit(1 if bad else 0)
