#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""What takes long, again and again with other random numbers, for a given time: run.py --server FIRN_SERVER --seconds N [--seed N] storm|crowd|kill|faults

    storm   random commands of every type in every tier mode, each reply compared with redis-server; then FLUSHALL must give all memory back
    crowd   many clients on a data set far larger than memory, every reply checked; then the same
    kill    a server with all tiers is killed at a random moment, SAVE or not: on the same folders it starts with exactly what the last file had
    faults  a random fault point at a random pass, under commands that are checked

Ends with "N passed, N failed" (rounds). A failing round prints its seed; --seed repeats it as the first.
"""
import argparse
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "blackbox"))
parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--server", required=True)
parser.add_argument("--seconds", type=float, required=True)
parser.add_argument("--seed", type=int, default=0, help="of the first round; 0: by the clock")
parser.add_argument("part", choices=("storm", "crowd", "kill", "faults"))
options = parser.parse_args()
os.environ["FIRN_SERVER"] = os.path.abspath(options.server)
import firn  # noqa: E402  (after the environment it reads)

ROUND_SECONDS_MAX = 600
TIERS = ("--maxmemory", "24mb", "--tier-pmem-path", "pmem", "--tier-pmem-size", "16mb", "--tier-nvme-path", "nvme", "--tier-nvme-size", "4gb")


def storm(seed):
    """The streams of the differential test; its own run.py compares and says what differs."""
    run = subprocess.run([sys.executable, os.path.join(HERE, "..", "diff", "run.py"), "--server", options.server, "--seed", str(seed), "--commands", "20000",
                          "--draw", "2"], capture_output=True, text=True, errors="replace")
    if run.returncode != 0:
        raise AssertionError(run.stdout + run.stderr)


def crowd(seed):
    """Twice on one server: what stays after the first FLUSHALL is kept for use, what more stays after the second is lost."""
    model, stayed = importlib.import_module("test_concurrent"), []
    case = model.Concurrent("test_strings_and_hashes")
    with firn.Server(*TIERS, stress="off") as server:
        before = server.used_memory()
        for _ in range(2):
            wrong, finished = [], []
            threads = [threading.Thread(target=case.work, args=(server, seed + number, 1500, wrong, finished)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if wrong or len(finished) != len(threads):
                raise AssertionError(f"{len(finished)} of {len(threads)} clients ended; wrong: {wrong}")
            firn.nothing_is_left(server, before)
            stayed.append(server.used_memory())
        if stayed[1] > stayed[0] + (2 << 20):
            raise AssertionError(f"used_memory after FLUSHALL grows: {before}, {stayed}")


def kill(seed):
    rng, folder, saved, state = random.Random(seed), tempfile.mkdtemp(prefix="firn-soak-"), {}, {}
    try:
        for _ in range(8):
            server = firn.Server(*TIERS, stress="off", folder=folder)
            client = server.client()
            firn.wait_until(lambda: server.info("persistence")["loading"] == "0", "it loads for ever")
            if client("DBSIZE") not in (len(saved), len(state)):
                raise AssertionError("%d keys, %d were saved" % (client("DBSIZE"), len(saved)))
            found = {key: client("GET", key) for key in {*saved, *state}}
            found = {key: value for key, value in found.items() if value is not None}
            if found not in (saved, state):  # a SAVE that was under way may have happened
                raise AssertionError("what came back is neither the last file nor the one before")
            saved, state = found, dict(found)
            for _ in range(rng.randrange(1, 6)):
                for _ in range(rng.randrange(2000)):
                    key = "k:%d" % rng.randrange(20000)
                    state[key] = rng.randbytes(8).hex().encode() * rng.choice((1, 20, 400))
                    client("SET", key, state[key])
                if rng.random() < 0.5:
                    client("SAVE")
                    saved = dict(state)
            if rng.random() < 0.5:
                client.send("SAVE")
                time.sleep(rng.random() * 0.2)
            else:
                state = dict(saved)
            server.stop(signal.SIGKILL)
            client.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def faults(seed):
    scenario, rng = importlib.import_module("test_faults"), random.Random(seed)
    points = ("MEMORY_TRY", "ROCKS_WRITE", "ROCKS_READ", "ROCKS_CHECKSUM", "ROCKS_BLOCK_READ", "ROCKS_BLOCK_SHORT", "ROCKS_BLOCK_DAMAGE", "PMEM_RESERVE",
              "PMEM_CHECKSUM", "LOOP_RECV", "LOOP_SEND", "LOOP_ACCEPT")
    mode = rng.choice(("off", "pmem", "nvme", "random"))
    with firn.Server(*(TIERS if mode == "off" else ("--maxmemory", "64mb")), stress=mode) as server:
        before = server.used_memory()
        for _ in range(30):
            point, skip = rng.choice(points), int(rng.paretovariate(0.5)) - 1
            count = 1 if point.startswith("LOOP") else rng.choice((1, 5, scenario.FOREVER))
            try:
                one = scenario.Scenario(server)
                one.arm(point, min(skip, 2000), count)
                one.go()
                one.verify()
                unclear = [text for text in one.errors if not text.startswith(scenario.CLEAR)]
                if unclear:
                    raise AssertionError(unclear)
            except AssertionError as problem:
                raise AssertionError(f"{point} skip {skip} count {count} mode {mode}: {problem}") from problem
        firn.nothing_is_left(server, before)


def main():
    end, seed = time.monotonic() + options.seconds, options.seed or int(time.time()) * 1000
    passed = failed = 0
    while passed + failed == 0 or time.monotonic() < end:
        try:
            with firn.limit(ROUND_SECONDS_MAX):
                {"storm": storm, "crowd": crowd, "kill": kill, "faults": faults}[options.part](seed)
            passed += 1
        except (AssertionError, firn.TooLong, firn.ReplyError, OSError) as problem:
            failed += 1
            print(f"{options.part}, seed {seed}: {type(problem).__name__}: {problem}", flush=True)
            for server in firn.RUNNING[:]:
                server.stop(signal.SIGKILL)
        seed += 100
    print(f"{options.part}: {passed} passed, {failed} failed")
    sys.exit(bool(failed))


main()
