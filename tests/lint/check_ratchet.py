#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Lists that may only shrink: the number of rows of each list in ratchet.txt is at most the number written there."""
import os
import sys

root = sys.argv[1]
status = 0
for row in open(os.path.join(root, "tests/lint/ratchet.txt")):
    if row.startswith("#") or not row.strip():
        continue
    name, most = row.split()
    rows = [line for line in open(os.path.join(root, name)) if line.strip() and not line.startswith("#")]
    if len(rows) > int(most):
        print(f"{name}: {len(rows)} rows, and it may only shrink ({most} in tests/lint/ratchet.txt)")
        status = 1
sys.exit(status)
