"""Dying at a chosen moment, for the tests that kill workers where it hurts most; nothing else sets the variable.

LOOM_TEST_FAULT="link:5" kills this process without warning when it comes to the fault point `link` for the fifth time.
"""

from __future__ import annotations

import os
import signal
import threading

VARIABLE = "LOOM_TEST_FAULT"
_lock = threading.Lock()
_passed = 0


def fault_point(name: str) -> None:
    """A moment at which a test may have the process killed."""
    global _passed
    wanted, _, count = os.environ.get(VARIABLE, "").partition(":")
    if wanted != name:
        return
    with _lock:
        _passed += 1
        if _passed == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
