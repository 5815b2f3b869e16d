#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Run files of Redis's own Tcl suite against firn-server and hold the result against not_passing.txt.

    run.py --tests REDIS_TREE --server FIRN_SERVER [--stress off|pmem|nvme|random] [--jobs N] [file ...]

The tree (from scripts/redis_source.sh) is only read: each file runs in a scratch copy of its tests folder, with a port block and a time limit
of its own, so that one bad file costs only itself. Without file names those of files.txt run. Cases in not_passing.txt are not run; every other
case must pass. A case that says nothing for --case-seconds costs itself: its servers tell where they are and are aborted, and the cases that
did not pass before it run again with fresh ones. Prints one line a file and at the end "N passed, N failed"; exit status 1 if any failed.
"""
import argparse
import concurrent.futures
import glob
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "blackbox"))
import stuck  # noqa: E402

PORTS_PER_FILE = 60
FILE_SECONDS_MAX = 300
HANGS_MAX = 3  # of one file; then it ends
# Lists that are a listpack came with 7.2: where a case of 7.0 wants a quicklist, either is right. (Our own tests hold the thresholds.)
EITHER_LIST = """
rename assert_encoding assert_encoding_exactly
proc assert_encoding {enc key} {
    if {$enc eq "quicklist" && [r object encoding $key] eq "listpack"} return
    uplevel 1 [list assert_encoding_exactly $enc $key]
}
"""


def read_lines(name):
    with open(os.path.join(HERE, name)) as lines:
        return [line.rstrip("\n") for line in lines if line.strip() and not line.startswith("#")]


def waiting_cases(path, stress):
    """{file: [case name]} of the cases that are known not to pass; a row may hold for some stress modes only."""
    cases = {}
    for line in read_lines(path):
        fields = [field.strip() for field in line.split(" | ")]
        if len(fields) != 4:
            sys.exit(f"{path}: want 'file | modes | case | reason': {line}")
        file, modes, case, _reason = fields
        if modes == "all" or stress in modes.split(","):
            cases.setdefault(file, []).append(case)
    return cases


def make_scratch(folder, options):
    shutil.copytree(os.path.join(options.tests, "tests"), os.path.join(folder, "tests"))
    with open(os.path.join(folder, "tests", "support", "test.tcl"), "a") as support:
        support.write(EITHER_LIST)
    binaries = os.path.join(folder, "src")
    os.mkdir(binaries)
    os.symlink(os.path.realpath(options.server), os.path.join(binaries, "redis-server"))
    for tool in ("redis-cli", "redis-benchmark", "redis-check-aof", "redis-check-rdb"):
        found = shutil.which(tool)
        if found:
            os.symlink(found, os.path.join(binaries, tool))


def run_file(file, number, skip, options):
    """(passed names, [failure text], skipped count, seconds) of one file; with another block of ports if some other process took one of these,
    and again without the case that hung."""
    started, passed, failed = time.monotonic(), [], []
    for attempt in range(4 + HANGS_MAX):
        good, bad, skipped, hung = run_file_once(file, number + attempt * 17, skip + passed, options)
        if hung and len(failed) < HANGS_MAX:
            passed, failed, skip = passed + good, failed + [hung[1]], skip + [hung[0]]
        elif attempt == 3 + HANGS_MAX or "address already in use" not in " ".join(bad):
            break
    return passed + good, failed + bad, skipped - len(passed) - len(failed), time.monotonic() - started


class Output:
    """What a process group says, and a judgement when it says nothing for too long."""

    def __init__(self, process, folder, options):
        self.process, self.folder, self.options, self.text, self.hung = process, folder, options, [], None
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def servers(self):
        """The pids of the group's firn-servers."""
        for path in glob.glob("/proc/[0-9]*/exe"):
            pid = int(path.split("/")[2])
            try:
                if os.getpgid(pid) == self.process.pid and os.path.samefile(path, self.options.server):
                    yield pid
            except OSError:
                pass

    def stop_servers(self):
        """They say where they are; which case it was is in the logs that the suite keeps of them."""
        paths = sorted(glob.glob(os.path.join(self.folder, "tests", "tmp", "*", "stdout")), key=os.path.getmtime)

        def logs():
            return [open(path, errors="replace").read() for path in paths]
        cases = [case for text in logs() for case in re.findall("^### Starting test (.*) in .*$", text, re.M)]
        where = [stuck.abort(pid) for pid in self.servers()]
        reports = [stuck.log_end(text) for text in logs() if "BUG REPORT START" in text]
        self.hung = cases[-1] if cases else "-", f"{cases[-1:]} hung\n" + "\n".join(where + reports)

    def all(self):
        """Everything it says until it ends, which is soon after a case said nothing for too long or the file took too long."""
        end = time.monotonic() + FILE_SECONDS_MAX
        while True:
            try:
                line = self.lines.get(timeout=max(0, min(self.options.case_seconds, end - time.monotonic())))
                if line is None:
                    break
                self.text.append(line)
                if time.monotonic() < end:
                    continue
            except queue.Empty:
                pass
            end = time.monotonic() + 20  # what still runs without its servers is of no interest
            if not self.hung:
                self.stop_servers()
            elif not kill_group(self.process):
                break
        self.process.wait()
        return "".join(self.text)


def kill_group(process):
    """Whether there was anything left to kill."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def run_file_once(file, number, skip, options):
    folder = tempfile.mkdtemp(prefix="firn-suite-")
    try:
        make_scratch(folder, options)
        port = options.port + number % 200 * PORTS_PER_FILE
        command = ["tclsh", "tests/test_helper.tcl", "--single", file, "--clients", "1", "--durable", "--dump-logs",
                   "--baseport", str(port), "--portcount", str(PORTS_PER_FILE), "--timeout", str(FILE_SECONDS_MAX),
                   "--config", "set-max-listpack-entries", "0"]  # 7.0 knows no such sets: its cases want a hashtable at once
        if options.stress != "off":
            command += ["--config", "tier-stress", options.stress]
        for case in skip:
            command += ["--skiptest", case]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   errors="replace", start_new_session=True)
        reader = Output(process, folder, options)
        output = reader.all()
        kill_group(process)  # servers the file left behind
        if options.keep:
            with open(os.path.join(options.keep, file.replace("/", "_") + "." + options.stress + ".log"), "w") as log:
                log.write(output)
        output = re.sub(r"\x1b\[[0-9;]*m", "", output)
        passed = re.findall(r"^\[ok\]: (.*) \(\d+ ms\)$", output, re.M)
        skipped = len(re.findall(r"^\[skip\]: ", output, re.M))
        failed = [text.strip() for text in re.findall(r"^\[err\]: (.*(?:\n(?!\[|Logged|\* ).*){0,6})", output, re.M)]
        failed += ["exception: " + text for text in re.findall(r"^\[exception\]: (.*(?:\n.*){0,8})", output, re.M)]
        if process.returncode != 0 and not failed:
            failed.append(f"ended with status {process.returncode}: " + output[-1500:])
        if not passed and not failed and not skipped:
            failed.append("no test ran: " + output[-1500:])
        return passed, failed, skipped, reader.hung
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tests", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--stress", default="off", choices=("off", "pmem", "nvme", "random"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--case-seconds", type=float, default=100, help="a case that says nothing for so long hangs")
    parser.add_argument("--port", type=int, default=0, help="first port; 0: somewhere at random, so that two runs can go on beside each other")
    parser.add_argument("--keep", help="folder for the raw output of each file")
    parser.add_argument("--all-cases", action="store_true", help="also run the cases of not_passing.txt")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    options.port = options.port or 11000 + random.randrange(130) * PORTS_PER_FILE
    files = options.files or read_lines("files.txt")
    waiting = {} if options.all_cases else waiting_cases("not_passing.txt", options.stress)
    total_passed = total_failed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        jobs = {pool.submit(run_file, file, number, waiting.get(file, []), options): file for number, file in enumerate(files)}
        for job in concurrent.futures.as_completed(jobs):
            passed, failed, skipped, seconds = job.result()
            total_passed += len(passed)
            total_failed += len(failed)
            print(f"{jobs[job]} [{options.stress}]: {len(passed)} passed, {len(failed)} failed, {skipped} waiting, {seconds:.0f} s", flush=True)
            for text in failed:
                print("    " + text.replace("\n", "\n      "), flush=True)
    print(f"redis suite [{options.stress}]: {total_passed} passed, {total_failed} failed")
    sys.exit(1 if total_failed else 0)


main()
