# SPDX-License-Identifier: BSD-3-Clause
"""The harnesses themselves: a server that hangs costs its own case, its limit and no more, and tells where it was."""
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import firn

HERE = os.path.dirname(os.path.realpath(__file__))


class Harness(firn.Case):
    OPTIONS = None
    CHOOSES_TIERS = True

    def output(self, script, *arguments):
        started = time.monotonic()
        run = subprocess.run([sys.executable, os.path.join(HERE, script), "--server", firn.SERVER, *arguments],
                             capture_output=True, text=True, errors="replace", timeout=self.SECONDS_MAX * (5 if firn.SANITIZED else 1))
        self.assertEqual(run.returncode, 1, run.stdout + run.stderr)
        return run.stdout + run.stderr, time.monotonic() - started

    def tells_where(self, text):
        self.assertIn("when it was stopped:\n", text)
        if shutil.which("gdb") and not firn.SANITIZED:
            self.assertIn("sleep", text.split("when it was stopped:\n")[1])  # a frame of DEBUG SLEEP
            self.assertIn("=== REDIS BUG REPORT START", text)

    def test_a_hanging_server_costs_its_own_case_only(self):
        text, seconds = self.output("run.py", "hanging")
        self.tells_where(text)
        self.assertIn("ERROR: test_1_does_not_answer", text)
        self.assertIn("ERROR: test_2_dies", text)
        self.assertIn("1 passed, 2 failed", text)
        self.assertIn("not done in ", text)
        self.assertLess(seconds, 40)

    def test_a_hanging_case_of_the_redis_suite(self):
        """The case before it passed, those after it run with a fresh server."""
        trees = glob.glob(os.path.join(os.path.dirname(os.path.abspath(firn.SERVER)), "redis", "redis-7*", "tests"))
        if not trees:
            self.skipTest("no source of redis beside the server (scripts/redis_source.sh)")
        folder = tempfile.mkdtemp(prefix="firn-test-")
        self.addCleanup(shutil.rmtree, folder)
        shutil.copytree(trees[0], os.path.join(folder, "tests"))
        with open(os.path.join(folder, "tests", "unit", "hanging.tcl"), "w") as file:
            file.write('''start_server {tags {"hanging"}} {
    test {before} {r ping} {PONG}
    test {hangs} {r debug sleep 3600}
    test {after} {r ping} {PONG}
}''')
        text, seconds = self.output("../redis/run.py", "--tests", folder, "--case-seconds", "3", "unit/hanging")
        self.tells_where(text)
        self.assertIn("unit/hanging [off]: 2 passed, 1 failed, 0 waiting", text)
        self.assertLess(seconds, 50)

    def test_a_hanging_server_of_the_differential_test(self):
        """Stopped by a signal while a stream runs: that stream fails, the next one runs."""
        command = [sys.executable, os.path.join(HERE, "../diff/run.py"), "--server", firn.SERVER, "--only", "HyperLogLogStream", "--commands", "8000",
                   "--command-seconds", "1"]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        self.addCleanup(run.kill)

        def below(pid):
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                for child in map(int, file.read().split()):
                    yield child
                    yield from below(child)

        def child():
            try:
                return [pid for pid in below(run.pid) if os.path.samefile(f"/proc/{pid}/exe", firn.SERVER) and "Ready" in open(f"/proc/{pid}/cwd/log").read()]
            except OSError:  # one that has just begun or ended
                return []
        pid = firn.wait_until(child, "no server was started")[0]
        time.sleep(0.5)  # it is found ready and the stream runs, which takes some seconds
        os.kill(pid, signal.SIGSTOP)
        text, _ = run.communicate()
        run.stdout.close()
        self.assertEqual(run.returncode, 1, text)
        self.assertIn("when it was stopped:\n", text)
        self.assertIn("differential: 4 passed, 1 failed", text)
