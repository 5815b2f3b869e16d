# SPDX-License-Identifier: BSD-3-Clause
"""What black-box cases stand on: a case with a time limit and a server, a server of one's own, and a raw RESP client that hides nothing."""
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import stuck

SERVER = os.environ.get("FIRN_SERVER", "build-release/firn-server")
STRESS = os.environ.get("FIRN_STRESS", "off")
SANITIZED = "asan" in SERVER or "tsan" in SERVER
QUICK = bool(os.environ.get("FIRN_QUICK"))
LEFT_BYTES_MAX = 16 << 20  # after FLUSHALL, above what a fresh server has: buffers that are kept for the next use, of RocksDB most
RUNNING = []  # the servers of this process that nobody has stopped yet


class TooLong(Exception):
    """A limit was passed; the text says where the servers were."""


@contextlib.contextmanager
def limit(seconds):
    """The block may take so many seconds. After them every server of this process tells where it is and is aborted, and TooLong is raised
    (again every 20 seconds: what cleans up may wait for them too). In the main thread only."""
    seconds *= 5 if SANITIZED else 1

    def late(_signal, _frame):
        reports = [server.abort() for server in RUNNING]
        raise TooLong("not done in %g s\n%s" % (seconds, "\n".join(reports)))

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, 20)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def wait_until(condition, what, seconds=30):
    """Until ${condition}() is true, which it must become in so many seconds; returns what it returned."""
    deadline = time.monotonic() + seconds * (5 if SANITIZED else 1)
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(what() if callable(what) else what)
        time.sleep(0.005)


class ReplyError(Exception):
    """An error reply, as text without the leading '-'."""


class Push(list):
    pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nothing_is_left(server, before):
    """FLUSHALL gives everything back, in memory and in the tiers."""
    client = server.client()
    client("FLUSHALL")
    client.close()

    def left():
        info = server.info()
        held = {name: int(info.get(name, 0)) for name in ("tier_pmem_bytes_used", "tier_nvme_bytes_live", "streaming_replies", "blocked_clients")}
        held["used_memory"] = max(0, server.used_memory() - before - LEFT_BYTES_MAX)
        return {name: number for name, number in held.items() if number}
    wait_until(lambda: not left(), lambda: "left after FLUSHALL: %s" % left())


class Client:
    """RESP2/3 over a plain socket. Errors inside arrays come back as ReplyError values; at the top they are raised."""

    def __init__(self, port=None, path=None, timeout=None):
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(path)
        else:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = self.socket.makefile("rb", buffering=1 << 16)

    def close(self):
        self.input.close()
        self.socket.close()

    @staticmethod
    def encode(*arguments):
        out = [b"*%d\r\n" % len(arguments)]
        for argument in arguments:
            if not isinstance(argument, bytes):
                argument = str(argument).encode()
            out.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
        return b"".join(out)

    def send_raw(self, data):
        self.socket.sendall(data)

    def send(self, *arguments):
        self.send_raw(self.encode(*arguments))

    def __call__(self, *arguments):
        self.send(*arguments)
        return self.receive()

    def receive(self):
        reply = self._read()
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def pipeline(self, commands):
        self.send_raw(b"".join(self.encode(*command) for command in commands))
        return [self._read() for _ in commands]

    def error(self, *arguments):
        """The error text of a command that must fail."""
        try:
            reply = self(*arguments)
        except ReplyError as error:
            return str(error)
        raise AssertionError(f"{arguments}: no error but {reply!r}")

    def at_end(self):
        """Whether the server has closed."""
        try:
            return self.input.read(1) == b""
        except ConnectionResetError:
            return True

    def _line(self):
        line = self.input.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        return line[:-2]

    def _read(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode(errors="backslashreplace")
        if kind == b"-":
            return ReplyError(rest.decode(errors="backslashreplace"))
        if kind == b":":
            return int(rest)
        if kind in (b"$", b"="):
            if int(rest) < 0:
                return None
            data = self.input.read(int(rest) + 2)[:-2]
            return data[4:] if kind == b"=" else data
        if kind in (b"*", b"~"):
            return None if int(rest) < 0 else [self._read() for _ in range(int(rest))]
        if kind == b">":
            return Push(self._read() for _ in range(int(rest)))
        if kind == b"%":
            return {_key(self._read()): self._read() for _ in range(int(rest))}
        if kind == b"|":
            for _ in range(int(rest) * 2):
                self._read()
            return self._read()
        if kind == b"_":
            return None
        if kind == b",":
            return float(rest)
        if kind == b"#":
            return rest == b"t"
        if kind == b"(":
            return int(rest)
        raise AssertionError(f"not RESP: {line!r}")


def _key(value):
    return tuple(value) if isinstance(value, list) else value


class Server:
    """A firn-server in a temporary folder (or in ${folder}, which then stays), on a free port, stopped by its own pid."""

    def __init__(self, *options, stress=None, config=None, wait=True, binary=None, environment=None, folder=None):
        self.keep = folder is not None
        self.folder = folder or tempfile.mkdtemp(prefix="firn-test-")
        self.port = free_port()
        self.log = os.path.join(self.folder, "log")
        command = [os.path.abspath(binary or SERVER)]
        if config is not None:
            self.config = os.path.join(self.folder, "firn.conf")
            with open(self.config, "w") as file:
                file.write(config)
            command.append(self.config)
        command += ["--port", str(self.port), "--dir", self.folder, "--bind", "127.0.0.1", "--enable-debug-command", "yes",
                    "--save", ""]
        stress = STRESS if stress is None else stress
        if stress != "off":
            command += ["--tier-stress", stress]
        command += [str(option) for option in options]
        self.launch(command, environment)
        if wait:
            self.wait_ready()

    def launch(self, command, environment=None):
        self.output = open(self.log, "ab")
        self.process = subprocess.Popen(command, cwd=self.folder, stdout=self.output, stderr=self.output, env={**os.environ, **(environment or {})})
        self.aborted = False
        RUNNING.append(self)

    def wait_ready(self, seconds=60):
        deadline = time.time() + seconds
        while time.time() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}: {self.text()}")
            try:
                client = Client(self.port, timeout=5)
                try:
                    if client("PING") == "PONG":
                        return
                except ReplyError as error:
                    if str(error).startswith(("NOAUTH", "LOADING")):
                        return
                finally:
                    client.close()
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the server did not come up: " + self.abort())

    def text(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def client(self, **options):
        return Client(self.port, **options)

    def info(self, section="everything"):
        client = self.client()
        rows = client("INFO", section).decode().split("\r\n")
        client.close()
        return dict(row.split(":", 1) for row in rows if ":" in row)

    def used_memory(self):
        return int(self.info("memory")["used_memory"])

    def wait_for_blocked(self, count):
        """Until so many clients wait in a blocking command."""
        wait_until(lambda: self.info("clients")["blocked_clients"] == str(count),
                   lambda: "not %d clients are blocked but %s" % (count, self.info("clients")["blocked_clients"]))

    def wait_exit(self, seconds=30):
        return self.process.wait(timeout=seconds)

    def alive(self):
        return self.process.poll() is None

    def abort(self):
        """End a server that does not answer; returns where it was and the end of its log."""
        if not self.alive():
            return "the server %d had ended: %s" % (self.process.pid, stuck.log_end(self.text()))
        self.aborted = True
        return stuck.abort(self.process.pid) + stuck.log_end(self.text())

    def stop(self, how=signal.SIGTERM):
        problem = None
        if self.alive():
            self.process.send_signal(how)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                problem = "the server did not stop: " + self.abort()
        self.process.wait()
        if self in RUNNING:
            RUNNING.remove(self)
        self.output.close()
        text = self.text()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)
        for mark in ("AddressSanitizer", "runtime error", "ThreadSanitizer", "LeakSanitizer", "BUG REPORT START"):
            if mark in text and how != signal.SIGSEGV and not self.aborted:
                problem = text[max(0, text.index(mark) - 200):][:6000]
        if problem:
            raise AssertionError(problem)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()


class Case(unittest.TestCase):
    """A case that never takes longer than its class allows. With OPTIONS its class shares one server, `self.server`, emptied before each case, with a
    connection `self.c`; a server that ended or had to be ended is replaced, so that only its own case fails. OPTIONS = None: cases start their own."""

    OPTIONS = ()
    SECONDS_MAX = 60  # of one case (five times as long under a sanitizer)
    CHOOSES_TIERS = False  # starts servers with tiers of its own, so that it is the same in every tier mode
    server = None

    @classmethod
    def tearDownClass(cls):
        if cls.OPTIONS is not None and cls.server:
            server, cls.server = cls.server, None
            server.stop()

    def run(self, result=None):
        with limit(self.SECONDS_MAX):
            return super().run(result)

    def setUp(self):
        self.clients = []
        self.addCleanup(self.clean)
        if self.OPTIONS is not None:
            if self.server is None:
                type(self).server = Server(*self.OPTIONS, stress="off" if self.CHOOSES_TIERS else None)
            self.c = self.client()
            self.c("FLUSHALL")

    def clean(self):
        for client in self.clients:
            client.close()
        for server in RUNNING[:]:
            if server is not self.server:
                server.stop(signal.SIGKILL)
        if self.OPTIONS is not None and self.server and not self.server.alive():
            self.tearDownClass()

    def client(self, **options):
        self.clients.append(self.server.client(**options))
        return self.clients[-1]
