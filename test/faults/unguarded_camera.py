"""camera_node with a guard switched off, for tests only: what then reaches the policy is what the tests must object to.

MELD_TEST_WITHOUT names it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from meld_core.cameras.watch import CameraWatch
from meld_ros.camera_node import main

_AGAIN = 0.1


def newer() -> None:
    """Fault 8: the newest picture is good however old it is."""

    def whatever(self: Any, stamp: int, timeout: float) -> Any:
        with self._new:
            self._new.wait_for(lambda: self._picture)
            self._new.wait(_AGAIN)
            return self._picture.frame

    CameraWatch.wait_newer = whatever


def stamps() -> None:
    """Faults 10 and 12: every picture is taken, whatever its stamp and size."""
    CameraWatch._refusal = lambda self, pixels, stamp, now: None


GUARDS: dict[str, Callable[[], None]] = {"newer": newer, "refusal": stamps}

if __name__ == "__main__":
    GUARDS[os.environ["MELD_TEST_WITHOUT"]]()
    main()
