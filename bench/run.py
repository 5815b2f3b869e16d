#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks: Firn and Debian's redis-server side by side in one run, the server pinned to one core and the client to the other.

    bench/run.py [--server build-release/firn-server] [--part hot,memory,fill,pauses,tiered,cold,hash,types,elements,cold-elements,whole,deletes] [--rounds N] [--quick]

Each comparison runs in pairs (redis, Firn, redis, Firn, ...); medians of the pairs are printed as Markdown tables with ratios, beginning with the machine.
Latency and throughput are noisy on shared machines; server CPU per operation and the ratios are what to look at. bench/RESULTS.md keeps the runs worth keeping.
"""
import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import collection_parts

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
SERVER_CORE, CLIENT_CORE = "1", "0"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server pinned to its core, in a temporary folder on disk, stopped by its own pid."""

    def __init__(self, name, *options):
        self.name, self.port = name, free_port()
        self.folder = tempfile.mkdtemp(prefix="firn-bench-", dir=arguments.folder)
        binary = arguments.server if name == "firn" else arguments.redis
        self.process = subprocess.Popen(["taskset", "-c", SERVER_CORE, os.path.abspath(binary), "--port", str(self.port), "--dir", self.folder, "--save", "",
                                         "--appendonly", "no", "--bind", "127.0.0.1", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                if self.call("PING") == "PONG":
                    return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"{name} did not start")

    def call(self, *words):
        with socket.create_connection(("127.0.0.1", self.port), timeout=600) as link:
            link.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(str(w)), str(w).encode()) for w in words))
            data = b""
            while not data.endswith(b"\r\n"):
                data += link.recv(65536)
            if data[:1] == b"$":
                size = int(data[1:data.index(b"\r\n")])
                while len(data) < size + data.index(b"\r\n") + 4:
                    data += link.recv(65536)
                return data[data.index(b"\r\n") + 2:-2].decode()
            return data[1:-2].decode()

    def info(self, section):
        return dict(row.split(":", 1) for row in self.call("INFO", section).split("\r\n") if ":" in row)

    def resident(self, field="VmRSS"):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        return 0

    def load(self, timeout=None, **options):
        words = [word for name, value in options.items() for word in ("--" + name.replace("_", "-"), str(value))]
        result = subprocess.run(["taskset", "-c", CLIENT_CORE, arguments.load, "--port", str(self.port), "--pid", str(self.process.pid), *words],
                                capture_output=True, text=True, timeout=timeout)
        if not result.stdout:
            raise SystemExit(f"firn-load {' '.join(words)}: {result.stderr}")
        row = {name: value for name, value in re.findall(r"(\w+)=(\S+)", result.stdout)}
        row = {name: float(value) if re.fullmatch(r"[\d.]+", value) else value for name, value in row.items()}
        if row["mismatches"]:
            raise SystemExit(f"{self.name}: {row['mismatches']:.0f} reads were not what was written: {result.stdout}")
        row["line"] = result.stdout.strip()
        return row

    def load_start(self, **options):
        words = [word for name, value in options.items() for word in ("--" + name.replace("_", "-"), str(value))]
        return subprocess.Popen(["taskset", "-c", CLIENT_CORE, arguments.load, "--port", str(self.port), "--pid", str(self.process.pid), *words],
                                stdout=subprocess.PIPE, text=True)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def parse(line):
    return {name: float(value) if re.fullmatch(r"[\d.]+", value) else value for name, value in re.findall(r"(\w+)=(\S+)", line)}


def table(head, rows):
    print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    sys.stdout.flush()


def ratio(firn, redis):
    return f"{firn / redis:.2f}x" if redis else "-"


def machine():
    model = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    version = subprocess.run([arguments.redis, "--version"], capture_output=True, text=True).stdout.split()[2]
    print(f"\nMachine: {model}, {os.cpu_count()} cores, kernel {os.uname().release.split('-')[0]}. redis-server {version}. {time.strftime('%Y-%m-%d')}. "
          f"Medians of {arguments.rounds} pairs; server on one core, client on the other.")


def hot():
    print("\n## Hot: everything in DRAM, no tier, 50 connections, 64-byte values, 100,000 keys")
    rows = []
    for command in ("get", "set", "incr", "hset"):
        for pipeline in (1, 32):
            got = {"redis": [], "firn": []}
            pair = {name: Server(name) for name in ("redis", "firn")}
            for server in pair.values():
                if command in ("get", "set"):
                    server.load(command="set", keys=100000, operations=100000, distribution="sequence", pipeline=50)
            extra = {"fields": 100} if command == "hset" else {}
            for _ in range(arguments.rounds):
                for name, server in pair.items():
                    got[name].append(server.load(command=command, keys=100000, seconds=arguments.seconds, pipeline=pipeline, **extra))
            for server in pair.values():
                server.stop()
            median = {name: {key: statistics.median(run[key] for run in runs) for key in ("cpu_us", "throughput", "p50_us", "p99_us", "p999_us")} for name, runs in got.items()}
            pairs = [f["cpu_us"] / r["cpu_us"] for f, r in zip(got["firn"], got["redis"]) if r["cpu_us"]]
            rows.append((f"{command.upper()} -P {pipeline}", f"{median['redis']['cpu_us']:.2f}", f"{median['firn']['cpu_us']:.2f}", f"**{statistics.median(pairs):.2f}x**",
                         f"{median['redis']['throughput']:,.0f}", f"{median['firn']['throughput']:,.0f}", ratio(median["firn"]["throughput"], median["redis"]["throughput"]),
                         *(f"{median['redis'][p]:.0f} / {median['firn'][p]:.0f}" for p in ("p50_us", "p99_us", "p999_us"))))
    table(("operation", "redis CPU us/op", "Firn CPU us/op", "CPU ratio", "redis ops/s", "Firn ops/s", "ratio", "p50 us r / F", "p99 us r / F", "p99.9 us r / F"), rows)


def memory():
    keys, fields = (500000, 200000) if arguments.quick else (5_000_000, 1_000_000)
    print(f"\n## Memory: {keys:,} keys of 16 bytes with 64-byte values; one hash of {fields:,} fields (10-byte names, 16-byte values); resident bytes each")
    rows = []
    for label, count, options in (("string key", keys, dict(command="set", value_bytes=64)), ("hash field", fields, dict(command="hset", value_bytes=16, fields=10**9))):
        used = {}
        for name in ("redis", "firn"):
            server = Server(name)
            before = server.resident()
            server.load(keys=count, operations=count, distribution="sequence", pipeline=100, **options)
            time.sleep(1)
            used[name] = (server.resident() - before) / count
            server.stop()
        rows.append((label, f"{used['redis']:.1f}", f"{used['firn']:.1f}", f"**{ratio(used['firn'], used['redis'])}**"))
    table(("bytes per", "redis", "Firn", "ratio"), rows)


def tiers(memory_max, pmem=0, nvme=64 << 30):
    words = ["--maxmemory", str(memory_max), "--tier-nvme-path", "nvme", "--tier-nvme-size", str(nvme)]
    return words + (["--tier-pmem-path", "pmem", "--tier-pmem-size", str(pmem)] if pmem else [])


def fill():
    memory_max = (64 if arguments.quick else 256) << 20
    print(f"\n## Load of ten times maxmemory ({memory_max >> 20} MB), pipeline 30, NVMe tier only, with a hot GET at 1,000/s beside it; at most {arguments.fill_seconds:.0f} s "
          "a case, or until the server refuses")
    rows = []
    for kind, size in (("strings", 64), ("strings", 512), ("strings", 16384), ("hashes of 100 fields", 64), ("hashes of 100 fields", 512)):
        server = Server("firn", *tiers(memory_max))
        server.load(command="set", keys=100, first=900_000_000, operations=100, distribution="sequence", value_bytes=64)
        hot_client = server.load_start(command="get", keys=100, first=900_000_000, value_bytes=64, rate=1000, seconds=10_000, connections=1)
        count, done, peak, failed = memory_max * 10 // size, 0, 0, 0
        options = dict(command="set") if kind == "strings" else dict(command="hset", fields=100)
        started, slice_size, why = time.time(), max(1, count // 100), ""
        for first in range(0, count, slice_size):
            left = arguments.fill_seconds - (time.time() - started)
            if left <= 0:
                why = "time is up"
                break
            try:
                run = server.load(timeout=left + 10, keys=slice_size, first=first, operations=slice_size, seconds=left, distribution="sequence", value_bytes=size, pipeline=30,
                                  connections=10, **options)
            except subprocess.TimeoutExpired:
                why = "writers are held back for good"
                break
            peak, failed, done = max(peak, server.resident("RssAnon")), failed + run["errors"], done + run["operations"] - run["errors"]
            if run["errors"]:
                why = "refused"
                break
        seconds = time.time() - started
        hot_client.terminate()
        facts = server.info("tiering")
        server.stop()
        rows.append((f"{size} B {kind}", f"{done:,.0f}", f"{done * size / memory_max:.1f}x" + (f" ({why})" if why else ""), f"{failed:.0f}", f"{done / seconds:,.0f}/s",
                     f"{peak / memory_max:.2f}x", facts.get("tier_sync_faults", "?")))
    table(("values", "keys or fields", "values / maxmemory", "errors", "rate", "peak resident anonymous / maxmemory", "sync faults"), rows)


def pauses():
    memory_max = (64 if arguments.quick else 256) << 20
    print(f"\n## Hot GET at 1,000/s while memory ({memory_max >> 20} MB) fills for the first time, and while uniform cold reads run at full rate")
    rows, count = [], memory_max * 8 // 1024
    idle = Server("redis")
    idle.load(command="set", keys=100, first=900_000_000, operations=100, distribution="sequence", value_bytes=64)
    rest = [idle.load(command="get", keys=100, first=900_000_000, value_bytes=64, rate=1000, seconds=8, connections=1) for _ in range(arguments.rounds)]
    idle.stop()
    for name in ("redis", "firn"):
        server = Server(name, *(tiers(memory_max) if name == "firn" else ()))
        server.load(command="set", keys=100, first=900_000_000, operations=100, distribution="sequence", value_bytes=64)
        for label, options in (("first fill", dict(command="set", operations=count, distribution="sequence", pipeline=8, connections=8)),
                               ("uniform reads", dict(command="get", seconds=10, connections=32))):
            background = server.load_start(keys=count, value_bytes=1024, **options)
            hot = []
            while background.poll() is None:
                hot.append(server.load(command="get", keys=100, first=900_000_000, value_bytes=64, rate=1000, seconds=2, connections=1))
            rows.append((name, label, *(f"{statistics.median(run[p] for run in hot):.0f}" for p in ("p50_us", "p99_us", "p999_us")), f"{max(run['max_us'] for run in hot):.0f}"))
        server.stop()
    rows.append(("redis", "idle", *(f"{statistics.median(run[p] for run in rest):.0f}" for p in ("p50_us", "p99_us", "p999_us")), f"{max(run['max_us'] for run in rest):.0f}"))
    table(("server", "beside", "p50 us", "p99 us", "p99.9 us", "longest us"), rows)


def tiered():
    keys = 200_000 if arguments.quick else 2_000_000
    memory_max = keys * 134
    print(f"\n## {keys:,} values of 1 KB (half incompressible), maxmemory {memory_max >> 20} MB, 32 connections, every read verified; redis-server holds all in DRAM; Zipf after a warm-up of the same")
    runs = (("first load", dict(command="set", operations=keys, distribution="sequence")),
            ("Zipf 0.99, 5% writes", dict(command="get", distribution="zipf", write_share=0.05, seconds=arguments.seconds * 4)),
            ("uniform GET", dict(command="get", seconds=arguments.seconds * 4)),
            ("uniform overwrite", dict(command="set", seconds=arguments.seconds * 4)))
    setups = {"redis": ("redis", ()), "firn NVMe": ("firn", tiers(memory_max)), "firn PMEM+NVMe": ("firn", tiers(memory_max, pmem=memory_max * 2))}
    got = {}
    for _ in range(max(1, arguments.rounds // 2)):
        for setup, (name, options) in setups.items():
            server = Server(name, *options)
            for label, options_of_run in runs:
                if label.startswith("Zipf"):  # what is hot has to be found out first
                    server.load(keys=keys, value_bytes=1024, connections=32, **{**options_of_run, "seconds": arguments.seconds * 6})
                got.setdefault((label, setup), []).append(server.load(keys=keys, value_bytes=1024, connections=32, **options_of_run))
            server.stop()
    rows = []
    for label, _ in runs:
        base = statistics.median(run["throughput"] for run in got[label, "redis"])
        for setup in setups:
            mine = got[label, setup]
            median = {p: statistics.median(run[p] for run in mine) for p in ("throughput", "p50_us", "p99_us", "p999_us", "cpu_us")}
            rows.append((label, setup, f"{median['throughput']:,.0f}", f"**{median['throughput'] / base:.2f}x**", *(f"{median[p]:.0f}" for p in ("p50_us", "p99_us", "p999_us")),
                         f"{median['cpu_us']:.1f}", f"{sum(run['errors'] for run in mine):.0f}"))
    table(("workload", "server", "ops/s", "against redis", "p50 us", "p99 us", "p99.9 us", "CPU us/op", "errors"), rows)


def cold():
    keys, memory_max = (100_000 if arguments.quick else 1_000_000), 64 << 20
    print(f"\n## Cold GET: {keys:,} values of 1 KB, uniform, against fio 4 KB random direct reads at the same depth on the same file system")
    server = Server("firn", *tiers(memory_max))
    server.load(command="set", keys=keys, operations=keys, distribution="sequence", value_bytes=1024, connections=32)
    time.sleep(5)
    rows = []
    for depth in (1, 16, 32):
        mine, device = [], []
        for _ in range(arguments.rounds):
            mine.append(server.load(command="get", keys=keys, seconds=arguments.seconds, value_bytes=1024, connections=depth)["throughput"])
            device.append(fio(depth))
        a, b = statistics.median(mine), statistics.median(device)
        rows.append((depth, f"{a:,.0f}", f"{b:,.0f}", f"**{ratio(a, b)}**"))
    server.stop()
    table(("depth", "Firn GET/s", "fio reads/s", "ratio"), rows)


def fio(depth):
    if not shutil.which("fio"):
        raise SystemExit("fio is not installed (scripts/install.sh bench)")
    file = os.path.join(arguments.folder, "firn-bench-fio")
    result = subprocess.run(["taskset", "-c", SERVER_CORE, "fio", "--name=r", f"--filename={file}", "--size=1g", "--rw=randread", "--bs=4k", "--direct=1",
                             "--ioengine=io_uring", f"--iodepth={depth}", "--time_based", f"--runtime={max(2, int(arguments.seconds))}", "--output-format=json"],
                            capture_output=True, text=True)
    return json.loads(result.stdout[result.stdout.index("{"):])["jobs"][0]["read"]["iops"]


def hash_page():
    fields = 100_000 if arguments.quick else 1_000_000
    print(f"\n## HGET of one field of a cold hash of {fields:,} fields")
    server = Server("firn", *tiers(1 << 30))
    server.load(command="hset", keys=fields, operations=fields, distribution="sequence", fields=10**9, value_bytes=16, pipeline=100)
    server.call("TIER", "DEMOTE", "hsh:000000000000", "NVME")
    before, memory_before = server.info("tiering"), int(server.info("memory")["used_memory"])
    reply = server.call("HGET", "hsh:000000000000", "f000012345")
    after, memory_after = server.info("tiering"), int(server.info("memory")["used_memory"])
    server.stop()
    table(("pages read", "bytes read", "growth of used_memory", "found"), [(int(after["tier_nvme_reads"]) - int(before["tier_nvme_reads"]),
          int(after["tier_nvme_read_bytes"]) - int(before["tier_nvme_read_bytes"]), memory_after - memory_before, bool(reply))])


def of_collections(part):
    """A part of collection_parts.py, given what is defined here."""
    return lambda: part(sys.modules[__name__])


PARTS = {"hot": hot, "memory": memory, "fill": fill, "pauses": pauses, "tiered": tiered, "cold": cold, "hash": hash_page,
         "types": of_collections(collection_parts.types), "elements": of_collections(collection_parts.elements), "cold-elements": of_collections(collection_parts.cold_elements),
         "whole": of_collections(collection_parts.whole), "deletes": of_collections(collection_parts.deletes)}
parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--server", default=os.path.join(ROOT, "build-release/firn-server"))
parser.add_argument("--redis", default="/usr/bin/redis-server")
parser.add_argument("--load", default=os.path.join(ROOT, "build-release/bench/firn-load"))
parser.add_argument("--part", default=",".join(PARTS))
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--seconds", type=float, default=4)
parser.add_argument("--fill-seconds", type=float, default=900, help="a case of the part fill ends after this")
parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the servers' folders go: the device to measure")
parser.add_argument("--quick", action="store_true")
arguments = parser.parse_args()
machine()
for part in arguments.part.split(","):
    PARTS[part]()
