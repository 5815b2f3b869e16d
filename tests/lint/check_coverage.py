#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Each command that has a handler, and each word of its arguments, is used by a test; so is each fault point. check_coverage.py ROOT

Used: all words of the command's name stand in string literals of one file of the black-box cases, the differential streams or the unit tests, and the word of
the argument stands in one such file too. (What a case then asserts, no lint can tell.)"""
import glob
import os
import re
import sys

root = sys.argv[1]
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(root, "src/cmd/spec"))
import generate  # noqa: E402

LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'')


def words_of(path):
    with open(path, errors="replace") as file:
        text = file.read()
    return {word.upper() for pair in LITERAL.findall(text) for word in re.split(r"[^\w|-]+", pair[0] or pair[1])}


def tokens(arguments):
    for argument in arguments:
        if argument.get("token"):
            yield argument["token"].upper()
        yield from tokens(argument.get("arguments", []))


paths = [path for pattern in ("blackbox/*.py", "diff/*.py", "unit/test_*.c") for path in glob.glob(os.path.join(root, "tests", pattern))]
files = [words_of(path) for path in paths]
problems = []
for name, spec in sorted(generate.load(os.path.join(root, "src/cmd/spec")).items()):
    if "handler" not in spec:
        continue
    using = [words for words in files if all(part.upper() in words for part in name.split("|"))]
    if not using:
        problems.append(f"src/cmd/spec/{spec['file']}: no test uses {name}")
        continue
    missing = [token for token in tokens(spec.get("arguments", [])) if re.fullmatch(r"\w+", token) and not any(token in words for words in using)]
    if missing:
        problems.append(f"src/cmd/spec/{spec['file']}: no test of {name} uses {', '.join(missing)}")
with open(os.path.join(root, "src/base/fault_point.def")) as file:
    points = re.findall(r"^FAULT_POINT\((\w+),", file.read(), re.M)
tests = [os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(root, "tests")) for name in names if name.endswith((".c", ".py"))]
text = "\n".join(open(path, errors="replace").read() for path in tests)
problems += [f"src/base/fault_point.def: no test makes {point} fail" for point in points if not re.search(rf"\b(FAULT_)?{point}\b", text)]
print("\n".join(problems), end="\n" if problems else "")
sys.exit(bool(problems))
