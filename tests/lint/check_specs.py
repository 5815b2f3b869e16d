#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Command specifications: each passes the generator's checks, has a handler, and its facts fit together. check_specs.py ROOT BUILD"""
import os
import re
import subprocess
import sys

root = sys.argv[1]
folder = os.path.join(root, "src/cmd/spec")
sys.dont_write_bytecode = True
sys.path.insert(0, folder)
import generate  # noqa: E402

problems = []
try:
    specs = generate.load(folder)
except generate.Bad as bad:
    print(f"src/cmd/spec/{bad}")
    sys.exit(1)
defined = set()
for library in ("libfirn_cmd.a", "libfirn_server.a"):
    path = os.path.join(sys.argv[2], library)
    if not os.path.exists(path):
        continue
    listing = subprocess.run(["nm", "--defined-only", "-g", path], capture_output=True, text=True).stdout
    defined |= set(re.findall(r" T (cmd_[a-z0-9_]+)$", listing, re.M))
if not defined:
    sys.exit(0)  # nothing is built yet
wanted = {}
for spec in specs.values():
    if "handler" not in spec:
        continue
    wanted[spec["handler"]] = spec["file"]
    if spec["handler"] not in defined:
        problems.append(f"src/cmd/spec/{spec['file']}: handler {spec['handler']} is in neither libfirn_cmd nor libfirn_server")
    if "write" in spec["flags"] and not any("RO" not in key["flags"] for key in spec.get("keys", [])) and \
            spec["name"] not in ("flushall", "flushdb", "swapdb", "xreadgroup"):  # XREADGROUP: as Redis says it
        problems.append(f"src/cmd/spec/{spec['file']}: flag write, but no key that is written")
    if spec["tier"] != "none" and not spec.get("keys"):
        problems.append(f"src/cmd/spec/{spec['file']}: tier {spec['tier']}, but no keys to prefetch")
print("\n".join(problems), end="\n" if problems else "")
sys.exit(bool(problems))
