"""teleop_node in which several hands have the arm at once, to show that a test of fault 30 fails then."""

from __future__ import annotations

from meld_core.teleop.session import Session
from meld_ros import teleop_node


def _takes_any(self: Session, who: str) -> bool:
    self._hand, self._heard = who, self._clock()
    return True


if __name__ == "__main__":
    Session._takes = _takes_any
    teleop_node.main()
