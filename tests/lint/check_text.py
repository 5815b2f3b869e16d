#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fail on: a source file without its SPDX line, a folder without README.md, a machine's path or a registry's host anywhere, a magic number used
twice, an unsafe libc call."""
import os
import re
import subprocess
import sys

root = os.path.abspath(sys.argv[1])
problems = []
listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
files = [name for name in listed.stdout.split("\n") if name and os.path.exists(os.path.join(root, name))]
if not files:  # an export without git
    files = [os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names
             if "/build" not in folder and "node_modules" not in folder]
FORBIDDEN = re.compile("(/" + "work/|/" + "farm/|/" + "root/|deb\\." + "debian|registry\\." + "npmjs|/tmp/" + "w/)")
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|alloca)\s*\(")
magics = {}
for name in files:
    if not name.endswith((".c", ".h", ".py", ".sh", ".def", ".cmake", ".txt", ".md", ".json", ".conf", ".js")):
        continue
    text = open(os.path.join(root, name), errors="replace").read()
    if name.endswith((".c", ".h", ".def", ".py", ".sh", ".cmake")) and "SPDX-License-Identifier: BSD-3-Clause" not in text[:300]:
        problems.append(f"{name}:1: no SPDX line")
    for number, line in enumerate(text.split("\n"), 1):
        if FORBIDDEN.search(line):
            problems.append(f"{name}:{number}: a machine's path or a registry's host")
        if name.endswith((".c", ".h")) and BANNED.search(line):
            problems.append(f"{name}:{number}: {BANNED.search(line).group(1)} is banned (bounded forms only)")
        magic = re.match(r"#define\s+(\w+_MAGIC)\s+(0x[0-9a-fA-F]+)", line)
        if magic:
            other = magics.setdefault(magic.group(2).lower(), magic.group(1))
            if other != magic.group(1):
                problems.append(f"{name}:{number}: {magic.group(1)} and {other} share a magic number")
for folder in sorted({os.path.dirname(name) for name in files if name.endswith(".c")}):
    if not os.path.exists(os.path.join(root, folder, "README.md")):
        problems.append(f"{folder}/README.md: missing")
print("\n".join(problems), end="\n" if problems else "")
sys.exit(bool(problems))
