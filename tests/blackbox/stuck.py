# SPDX-License-Identifier: BSD-3-Clause
"""What a harness does with a server that no longer answers: ask it where it is (gdb, else /proc), then abort it so that its crash report is in its log."""
import glob
import os
import shutil
import signal
import subprocess
import time


def where(pid):
    """The stacks of all threads of a process, as well as this machine can tell."""
    if shutil.which("gdb"):
        try:
            text = subprocess.run(["gdb", "-p", str(pid), "-batch", "-nx", "-iex", "set debuginfod enabled off", "-ex", "thread apply all bt 25"],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=20).stdout
            frames = [line for line in text.splitlines() if line.startswith(("#", "Thread "))]
            if frames:
                return "\n".join(frames)
        except subprocess.TimeoutExpired:
            pass
    rows = []
    for task in sorted(glob.glob("/proc/%d/task/*" % pid)):
        for name in ("comm", "wchan", "syscall", "stack"):
            try:
                with open(os.path.join(task, name)) as file:
                    rows.append("%s %s: %s" % (os.path.basename(task), name, file.read().strip()))
            except OSError:
                pass
    return "\n".join(rows)


def running(pid):
    try:
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def abort(pid):
    """Where the process is; it has ended when this returns. Its own crash report goes where its log goes."""
    text = "the server %d, when it was stopped:\n%s\n" % (pid, where(pid))
    for sign in (signal.SIGABRT, signal.SIGCONT, signal.SIGKILL):
        if running(pid):
            os.kill(pid, sign)
        deadline = time.monotonic() + (5 if sign == signal.SIGCONT else 0)
        while running(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
    return text


def log_end(text):
    """Of a log: the crash report if there is one, else the last lines."""
    start = text.find("=== REDIS BUG REPORT START")
    return text[start:][:6000] if start >= 0 else text[-2000:]
