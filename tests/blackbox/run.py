#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Black-box cases: run.py --server FIRN_SERVER [--stress off|pmem|nvme|random] [--quick] [test name...]; ends with "N passed, N failed"."""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import time
import unittest

here = os.path.dirname(os.path.realpath(__file__))
parser = argparse.ArgumentParser()
parser.add_argument("--server", required=True)
parser.add_argument("--stress", default="off", choices=("off", "pmem", "nvme", "random"))
parser.add_argument("--quick", action="store_true", help="leave out what is slow under a sanitizer")
parser.add_argument("--jobs", type=int, default=1, help="classes of cases beside each other, each in a process of its own")
parser.add_argument("names", nargs="*")
options = parser.parse_args()
os.environ["FIRN_SERVER"] = os.path.abspath(options.server)
os.environ["FIRN_STRESS"] = options.stress
os.environ["FIRN_QUICK"] = "1" if options.quick else ""
sys.path.insert(0, here)
loader = unittest.TestLoader()
suite = loader.loadTestsFromNames(options.names) if options.names else loader.discover(here, "test_*.py")


def cases(tests):
    for test in tests:
        yield from cases(test) if isinstance(test, unittest.TestSuite) else (test,)


def end(passed, bad):
    print(f"black box [{options.stress}]: {passed} passed, {bad} failed")
    sys.exit(1 if bad else 0)


def run_class(name):
    command = [sys.executable, os.path.realpath(__file__), "--server", options.server, "--stress", options.stress, name] + ["--quick"] * options.quick
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace").stdout


class Result(unittest.TextTestResult):
    """Says which cases are slow."""

    def startTest(self, test):
        self.started = time.monotonic()
        super().startTest(test)

    def stopTest(self, test):
        super().stopTest(test)
        if time.monotonic() - self.started > 10:
            print(f"{time.monotonic() - self.started:.0f} s: {test}", file=sys.__stdout__, flush=True)


if options.jobs > 1:
    names = dict.fromkeys(f"{type(case).__module__}.{type(case).__qualname__}" for case in cases(suite))
    passed = bad = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for name, output in zip(names, pool.map(run_class, names)):
            summary = re.findall(r"^black box .*: (\d+) passed, (\d+) failed$", output, re.M)
            passed, bad = passed + (int(summary[0][0]) if summary else 0), bad + (int(summary[0][1]) if summary else 1)
            print(re.sub(r"^black box .* failed$", "", output.strip(), flags=re.M) if summary else name + " did not end: " + output, flush=True)
    end(passed, bad)
result = unittest.TextTestRunner(verbosity=1, buffer=True, resultclass=Result).run(suite)
bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
for case, reason in result.skipped:
    print(f"skipped: {case}: {reason}")
end(max(0, result.testsRun - bad - len(result.skipped)), bad)
