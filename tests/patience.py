"""How long a test waits for another process: generous, and one variable makes all of it longer."""

import os

FACTOR = float(os.environ.get("SAFECOMPRESS_TEST_PATIENCE", "10"))

TEST_S = 120.0
"""No test takes as long as this on a quiet machine, by far; `patience` of it is when pytest gives a test up."""


def patience(quiet_s: float) -> float:
    """The seconds to wait for what takes at most ``quiet_s`` on a quiet machine."""
    return FACTOR * quiet_s
