#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Names a library exports begin with the name of a file (or of a header) of that folder: foo.c exports foo_*. check_exports.py ROOT LIBRARY=FOLDER..."""
import os
import subprocess
import sys

root = sys.argv[1]
problems = []
for pair in sys.argv[2:]:
    library, folder = pair.split("=")
    if not os.path.exists(library):
        continue
    stems = {os.path.splitext(name)[0].split("_internal")[0] for name in os.listdir(os.path.join(root, folder)) if name.endswith((".c", ".h"))}
    words = stems | {stem.split("_")[0] for stem in stems}
    listing = subprocess.run(["nm", "--defined-only", "-g", library], capture_output=True, text=True).stdout
    for line in listing.splitlines():
        parts = line.split()
        if len(parts) != 3 or parts[1] not in "TDBRC" or parts[2].startswith("__"):
            continue
        name = parts[2]
        if not any(name == word or name.startswith(word + "_") for word in words):
            problems.append(f"{folder}: exports {name}, which begins with no file's name")
print("\n".join(sorted(set(problems))), end="\n" if problems else "")
sys.exit(bool(problems))
