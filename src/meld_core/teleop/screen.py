"""What a person at the keyboard sees: gate, whom it waits for, where the tool is within its limits, keys."""

from __future__ import annotations

import numpy as np

from meld_core.teleop.session import MENU, Session

_WIDTH = 24
MOVES = "w s forward back   a d left right   r f up down"


def rows(session: Session) -> list[tuple[str, str]]:
    """Name and text of each line."""
    report = session.report
    gate = f"{report.state.value}  {report.reason}".rstrip() if report else "no robot_node is heard"
    return [
        ("gate", gate),
        ("waits for", (report.waits_for if report else "") or "-"),
        ("tool", "-" if session.tool is None else " ".join(f"{part:.3f}" for part in session.tool) + " m"),
        *[(f"tool {axis}", _along(session, number)) for number, axis in enumerate("xyz")],
        ("moves", session.hand or ("under way" if session.moving else "-")),
        ("said", session.latest or "-"),
    ]


def _along(session: Session, axis: int) -> str:
    """'0.300 m  [0.241 ---|--- 0.359]': where the tool is between the faces of the box."""
    if session.tool is None:
        return "-"
    place, lower, upper = float(session.tool[axis]), session.box.lower[axis], session.box.upper[axis]
    share = float(np.clip((place - lower) / (upper - lower), 0.0, 1.0))
    left = round(share * (_WIDTH - 1))
    return f"{place:7.3f} m  [{lower:.3f} {'-' * left}|{'-' * (_WIDTH - 1 - left)} {upper:.3f}]"


def help_lines(requests: dict[str, str]) -> list[str]:
    """The keys, in words. `requests`: key → entry of MENU."""
    names = {" ": "space", "\n": "Enter"}
    asks = [f"{names.get(key, key)} {MENU[name].lower()}" for key, name in requests.items()]
    return [MOVES, "   ".join(asks[:5]), "   ".join([*asks[5:], "q quit"])]
