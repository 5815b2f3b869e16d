#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes the table of src/ds/shortest.c: for each k the 128 leading bits of 10^k, rounded up. decimal_powers.py <output>"""
import sys

FIRST, LAST = -292, 324

with open(sys.argv[1], "w") as out:
    out.write(f"#define DECIMAL_POWERS_FIRST {FIRST}\n#define DECIMAL_POWERS_LAST {LAST}\n")
    out.write("static const struct { uint64_t high, low; } decimal_powers[] = {\n")
    for k in range(FIRST, LAST + 1):
        top, bottom = (10**k, 1) if k >= 0 else (1, 10**-k)
        shift = 127 - (k * 1741647 >> 19)  # floor(log2(10^k)) as in shortest.c
        bits = -(-(top << shift) // bottom) if shift >= 0 else -(-top // (bottom << -shift))
        assert bits >> 127 == 1
        out.write(f"    {{0x{bits >> 64:016x}u, 0x{bits & (1 << 64) - 1:016x}u}}, /* {k} */\n")
    out.write("};\n")
