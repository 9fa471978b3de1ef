"""Writes docs/SAFETY.md: what is promised about motion, how it is measured, and the figures of the newest measurement.

meld bench safety --repetitions 5 --soak 30 --json benchmarks/safety.json
python tools/safety.py
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meld_core.config import Config

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "benchmarks" / "safety.json"
PAGE = ROOT / "docs" / "SAFETY.md"

LIMITS = (
    ("gate", ("expiry_periods", "max_age", "max_future", "policy_lease", "workspace_margin", "max_joint_speed",
              "max_joint_jump", "max_tracking_error", "tracking_patience", "button_timeout")),
    ("robot", ("control_period", "step_size", "workspace_size", "workspace_below")),
    ("driver", ("stale_after", "follow_window", "reset_speed", "park_speed")),
)  # fmt: skip
"""Settings that bound motion, in `meld_core/sections/`; `driver.*` is for arms behind a driver only."""

HOW = """\
- The arm is a stand-in: a process that speaks ros2_control's topics, with MuJoCo physics of the URDF. It shares no
  code with the stack, and writes down each command that it takes and, 100 times a second, where the arm truly is.
- robot_node is the real one, over real DDS. A second stand-in commands it as a policy would; it is killed with
  SIGKILL, stopped with SIGSTOP, or told to send nonsense.
- *Held after*: from the fault, by the machine's steady clock in the process where it happens, until the driver has
  taken a command that holds, after which nothing moves the arm before the next reset. Where nobody is left to hold
  (robot_node killed) or the arm is parked (Ctrl+C), until it rests.
- *Unsafe samples*: recorded instants at which a joint was faster than allowed, the tool outside its box by more than
  3 mm while a policy commands, or the arm in motion although it had to rest (a hold is given 350 ms to bring it to
  rest).
- *Objections*: all that the oracle minds: a late hold, a reset that nobody may ask for, unsafe samples, a dead node.
- Each fault is also played with the guard that it names switched off (`test/faults/unguarded.py`); then the oracle
  must object, or the test fails.
- robot_node and the stand-ins run at a higher priority where this is permitted. *Starved*: how long the worst thread
  of robot_node and that of the driver were ready to run and were not run, between fault and hold. Limits are longer
  by that much: a busy machine is not the stack, and no desktop that is busy keeps a promise in milliseconds."""

OBJECTED = (
    "Not every unsafe sample is 0 in this measurement, and its cause was not found. The machine had ten times as "
    "many processes ready to run as cores: the stand-in's physics falls behind when it waits for 0.2 s. That looks "
    "like motion that comes late or too fast. That is a guess: measure again on a machine at rest before you trust it."
)

NOT_MEASURED = (
    "Nothing here has run on a physical arm. A real driver adds its own delay, a real arm its own way to rest.",
    "The gate is software. It replaces no hardware emergency stop, and it knows nothing of people or of what is near "
    "the arm besides the box in which the tool may move. Elbow and forearm may leave that box.",
    "A step of a clock is played through ROS's clock (`use_sim_time`), not by setting the machine's.",
    "A killed robot_node cannot hold. What then stops the arm is that each command is a motion of one control period "
    "that ends by itself, and a driver that holds its last point. No other driver is safe.",
    "A dead motor is told by a joint that stands still while others follow; until then (at most half a second) the "
    "others carry the tool off its line, and perhaps out of its box.",
    "Before ROS 2 Kilted a subscriber is not told who sent a message; there a second commander is noticed by the "
    "number of publishers, and then nobody is obeyed. That was not run on such a distribution.",
)


def table(head: tuple[str, ...], rows: Any) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def read_figures(path: Path) -> dict[str, Any]:
    """The file's keys without their subject; `faults` by name, `soak` as a mapping where there was one."""
    flat = {k.removeprefix("safety."): v for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    result: dict[str, Any] = {name: value for name, value in flat.items() if "." not in name}
    groups: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        group, dot, name = key.partition(".")
        if dot:
            groups.setdefault(group, {})[name] = value
    result["soak"] = groups.pop("soak", {})
    result["faults"] = dict(sorted(groups.items(), key=lambda item: (item[1]["number"], item[0])))
    return result


def milliseconds(fault: Mapping[str, Any]) -> tuple[str, ...]:
    """Median, p99, max and what is promised, where there is a time."""
    names = ("stop_ms", "stop_ms_p99", "stop_ms_max", "limit_ms", "starved_ms_max")
    return tuple(f"{fault[name]:.0f}" if name in fault else "" for name in names)


def fault_rows(faults: Mapping[str, Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """One line per fault."""
    return [
        (fault["number"], fault["what"], fault["promise"], *milliseconds(fault), fault["unsafe_samples"],
         fault["objections"], fault["repetitions"])
        for fault in faults.values()
    ]  # fmt: skip


def setting_rows() -> list[tuple[Any, ...]]:
    """Every setting that bounds motion, with its default, unit and meaning."""
    rows = []
    for section, names in LIMITS:
        defaults = getattr(Config(), section)
        fields = {field.name: field for field in dataclasses.fields(defaults)}
        for name in names:
            about = fields[name].metadata
            rows.append((f"`{section}.{name}`", f"{getattr(defaults, name)} {about['unit']}".strip(), about["doc"]))
    return rows


def soak_text(soak: Mapping[str, Any]) -> str:
    """The soak in one sentence."""
    if not soak:
        return "No soak was part of this measurement."
    objected = f" It objected: {soak['objected']}." if soak.get("objected") else ""
    return (
        f"{soak['minutes']:g} minutes, {soak['faults']} random faults, {soak['samples']} samples of the arm: "
        f"**{soak['unsafe_samples']} unsafe samples**, {soak['objections']} objections; robot_node then had "
        f"{soak['robot_node_mb']:.0f} MB.{objected}"
    )


def page(result: Mapping[str, Any]) -> str:
    """The whole document."""
    head = ("fault", "what happens", "promised", "held after, median [ms]", "p99", "max", "limit", "starved, max",
            "unsafe samples", "objections", "times played")  # fmt: skip
    return "\n".join([
        "# Safety of motion", "",
        "Generated by `python tools/safety.py` from `benchmarks/safety.json`; do not edit.", "",
        "**The MotionGate is software. It replaces no hardware emergency stop.**", "",
        "## What is promised", "",
        "- Only robot_node moves the arm, and in it only the MotionGate, in simulation and on an arm alike.",
        "- A command is one bounded motion that ends by itself, and expires after 1.5 control periods.",
        "- A policy that is lost: the arm holds within 200 ms, until the next reset.",
        "- `stop` (a service) or the stop button: the arm holds within 100 ms and is STOPPED. Only `clear_stop` ends "
        "that, and only a reset moves the arm again. Nothing recovers by itself.",
        "- Commands that are stale, from the future, no numbers, in another frame or of a second sender move nothing.",
        "- Neither tool speed, joint speed nor the workspace box is exceeded, whatever is commanded.",
        "- Holding is active: torque stays on, the arm is never dropped.", "",
        "## Figures", "",
        f"`{result['command']}`" + (f" ({result['note']})" if "note" in result else ""), "",
        table(head, fault_rows(result["faults"])), "",
        f"On {result['machine']}, {result['date']}. No time: nothing has to hold, what is unsafe must not happen.", "",
        *([OBJECTED, ""] if any(fault["unsafe_samples"] for fault in result["faults"].values()) else []),
        "Random faults every 30 s on one arm:", "",
        soak_text(result["soak"]), "",
        "## How it is measured", "", HOW, "",
        "`make test-faults` plays all of them once, and once without their guards.", "",
        "## All limits", "",
        "The same in simulation and on an arm; `--set`, `--config` and parameter files change them.", "",
        table(("setting", "default", "meaning"), setting_rows()), "",
        "## What was never run, and what no gate can do", "",
        *(f"- {limit}" for limit in NOT_MEASURED), "",
    ])  # fmt: skip


def main() -> int:
    """Write the page."""
    if not FIGURES.is_file():
        print(f"there is no {FIGURES}; run: meld bench safety --soak 30 --json {FIGURES}", file=sys.stderr)
        return 2
    PAGE.write_text(page(read_figures(FIGURES)), encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
