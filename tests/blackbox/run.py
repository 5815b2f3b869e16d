#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Black-box cases: run.py --server FIRN_SERVER [--stress off|pmem|nvme|random] [--quick] [--jobs N] [test name...]; ends with "N passed, N failed".

Cases that choose their tiers themselves are the same in every mode and run in mode off only, unless named or asked for by --once. A case has a time limit
(`firn.Case`): after it the servers tell where they are, are aborted, and the next case gets a fresh one.
"""
import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time
import unittest

here = os.path.dirname(os.path.realpath(__file__))
parser = argparse.ArgumentParser()
parser.add_argument("--server", required=True)
parser.add_argument("--stress", default="off", choices=("off", "pmem", "nvme", "random"))
parser.add_argument("--quick", action="store_true", help="leave out what is slow under a sanitizer")
parser.add_argument("--once", action="store_true", help="this mode is the only one: also what is the same in every mode")
parser.add_argument("--jobs", type=int, default=1, help="so many cases beside each other, each in a process of its own")
parser.add_argument("names", nargs="*")
options = parser.parse_args()
os.environ["FIRN_SERVER"] = os.path.abspath(options.server)
os.environ["FIRN_STRESS"] = options.stress
os.environ["FIRN_QUICK"] = "1" if options.quick else ""
sys.path.insert(0, here)
import firn  # noqa: E402  (after the environment it reads)


def cases(tests):
    for test in tests:
        yield from cases(test) if isinstance(test, unittest.TestSuite) else (test,)


def end(passed, bad):
    print(f"black box [{options.stress}]: {passed} passed, {bad} failed")
    sys.exit(1 if bad else 0)


class Result(unittest.TextTestResult):
    """Says which cases are slow."""

    def startTest(self, test):
        self.started = time.monotonic()
        super().startTest(test)

    def stopTest(self, test):
        super().stopTest(test)
        if time.monotonic() - self.started > 10:
            print(f"{time.monotonic() - self.started:.0f} s: {test}", file=sys.__stdout__, flush=True)


def run_part(name, seconds):
    """The output of these cases in a process of their own, and how long they took. Their limits are their own business; ours is a last resort."""
    command = [sys.executable, os.path.realpath(__file__), "--server", options.server, "--stress", options.stress, name] + ["--quick"] * options.quick
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    return output, time.monotonic() - started


def run_beside(suite):
    """Classes are started together, those of cases with a long limit case by case and first."""
    parts = {}
    for case in cases(suite):
        kind, seconds = type(case), getattr(case, "SECONDS_MAX", 60)
        alone = seconds > firn.Case.SECONDS_MAX or not hasattr(kind, "SECONDS_MAX")
        name = case.id() if alone else f"{kind.__module__}.{kind.__qualname__}"
        if case.id().startswith("unittest.loader."):  # a module that could not be loaded
            name = case._testMethodName
        parts[name] = parts.get(name, 60) + seconds * (5 if firn.SANITIZED else 1) + 20
    names = sorted(parts, key=lambda name: name.count("."), reverse=True)
    passed = bad = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for name, (output, seconds) in zip(names, pool.map(lambda name: run_part(name, parts[name]), names)):
            summary = re.findall(r"^black box .*: (\d+) passed, (\d+) failed$", output, re.M)
            good, wrong = (int(summary[0][0]), int(summary[0][1])) if summary else (0, 1)
            passed, bad = passed + good, bad + wrong
            print(f"{name} [{options.stress}]: {good} passed, {wrong} failed, {seconds:.0f} s", flush=True)
            if wrong or "skipped: " in output:
                print(output if wrong else "\n".join(re.findall("^skipped: .*", output, re.M)), flush=True)
    end(passed, bad)


loader = unittest.TestLoader()
if options.names:
    suite = loader.loadTestsFromNames(options.names)
else:
    suite = unittest.TestSuite(case for case in cases(loader.discover(here, "test_*.py"))
                               if options.stress == "off" or options.once or not getattr(case, "CHOOSES_TIERS", False))
if options.jobs > 1:
    run_beside(suite)
result = unittest.TextTestRunner(verbosity=1, buffer=True, resultclass=Result).run(suite)
failed = [case for case, _ in result.failures + result.errors] + result.unexpectedSuccesses
bad = len({getattr(case, "test_case", case).id() for case in failed})
for case, reason in result.skipped:
    print(f"skipped: {case}: {reason}")
end(max(0, result.testsRun - bad - len(result.skipped)), bad)
