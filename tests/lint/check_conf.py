#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""conf/firn.conf explains every directive that has an effect, and names the others at its end as what they are. check_conf.py ROOT"""
import fnmatch
import os
import re
import sys

with open(os.path.join(sys.argv[1], "src/server/config.def")) as file:
    rows = re.findall(r'^CONFIG\(\w+, "([^"]+)", "[^"]*", \w+, ([^,]+),', file.read(), re.M)
with open(os.path.join(sys.argv[1], "conf/firn.conf")) as file:
    explained, _, listed = file.read().partition("ACCEPTED, WITHOUT EFFECT YET")
shown = set(re.findall(r"^(?:# )?([a-z][a-z0-9-]+) ", explained, re.M))
patterns = re.findall(r"[a-z*][a-z0-9*-]*-[a-z0-9*-]*[a-z0-9*]|[a-z]+\*?", "\n".join(re.findall(r"^#   (?:\S+ )*\s{2,}(.*)$", listed, re.M)))
problems = []
for name, flags in rows:
    waits, by = "CONFIG_LATER" in flags, [pattern for pattern in patterns if fnmatch.fnmatch(name, pattern)]
    if "CONFIG_HIDDEN" in flags:
        continue
    if not waits and name not in shown:
        problems.append(f"conf/firn.conf: {name} has an effect and is not explained")
    if waits and not by:
        problems.append(f"conf/firn.conf: {name} has no effect yet and is not in the list at the end")
    if waits and name in shown:
        problems.append(f"conf/firn.conf: {name} is explained but has no effect yet")
    if not waits and name in by:
        problems.append(f"conf/firn.conf: {name} has an effect and is in the list of what has none")
print("\n".join(problems), end="\n" if problems else "")
sys.exit(bool(problems))
