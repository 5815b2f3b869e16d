#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fail on an #include that crosses layers upward, reaches a private header, or is not folder-qualified; and on cycles in layers.txt."""
import os
import re
import sys

root = os.path.abspath(sys.argv[1])
allowed, narrowed, problems = {}, {}, []
for row in open(os.path.join(root, "tests/lint/layers.txt")):
    row = row.split("#")[0].strip()
    if not row:
        continue
    folder, words = (part.strip() for part in row.split(":", 1))
    allowed[folder] = {word for word in words.split() if not word.startswith("@")}
    for word in words.split():
        if word.startswith("@"):
            target, headers = word[1:].split("=")
            narrowed[folder, target] = set(headers.split(","))


def owner(path):
    matches = [folder for folder in allowed if path.startswith(folder + "/")]
    return max(matches, key=len) if matches else None


def check(path):
    me = owner(path)
    if me is None:
        problems.append(f"{path}: its folder is not declared in tests/lint/layers.txt")
        return
    for number, line in enumerate(open(os.path.join(root, path), errors="replace"), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            continue
        name = match.group(1)
        found = [p for p in ("src/" + name, name) if os.path.exists(os.path.join(root, p))]
        if not found:
            if not name.startswith("generated/"):
                problems.append(f'{path}:{number}: "{name}": use the folder-qualified path')
            continue
        target, base = owner(found[0]), os.path.basename(name)
        if target == me:
            continue
        if target not in allowed[me]:
            problems.append(f"{path}:{number}: {me} may not include {target}")
        elif base.endswith("_internal.h"):
            problems.append(f"{path}:{number}: {name} is private to {target}")
        elif (me, target) in narrowed and base not in narrowed[me, target]:
            problems.append(f"{path}:{number}: {me} may use only {sorted(narrowed[me, target])} of {target}")


for top in ("src", "tiering", "pmem", "rocks"):
    for folder, _, files in os.walk(os.path.join(root, top)):
        for name in files:
            if name.endswith((".c", ".h")):
                check(os.path.relpath(os.path.join(folder, name), root))

state = {}


def visit(folder, trail):
    if state.get(folder) == "open":
        problems.append("layers.txt: cycle: " + " -> ".join(trail + [folder]))
    elif folder not in state:
        state[folder] = "open"
        for target in allowed.get(folder, ()):
            visit(target, trail + [folder])
        state[folder] = "done"


for folder in allowed:
    visit(folder, [])
print("\n".join(problems), end="\n" if problems else "")
sys.exit(bool(problems))
