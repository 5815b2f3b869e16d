# SPDX-License-Identifier: BSD-3-Clause
"""Cases for test_harness.py alone: the first never ends, the second must not notice."""
import firn


class Hanging(firn.Case):
    SECONDS_MAX = 2

    def test_1_does_not_answer(self):
        self.c("DEBUG", "SLEEP", 3600)

    def test_2_dies(self):
        self.c("DEBUG", "SEGFAULT")

    def test_3_is_well(self):
        self.assertEqual(self.c("PING"), "PONG")
