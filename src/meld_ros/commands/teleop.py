"""`meld teleop`: a person at the keyboard moves the arm of a graph that runs on this machine."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meld_core.storage.run_folder import RunFolder, run_folder
from meld_ros.commands.training import NoRosError, require_ros

if TYPE_CHECKING:
    from meld_core.doctor.snapshot import ProcessSeen
    from meld_core.teleop.session import Session


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teleop:
    """Move the arm by keys: resets by a person, first motions, labels. It goes through the gate like everybody."""

    run: str = ""
    """Name or folder of the run whose arm it is (default: the only one that runs here)."""


def run_teleop(command: Teleop, line: str) -> int:
    """`meld teleop`."""
    require_ros()
    from meld_ros.doctor_processes import node_processes

    robot = _robot(command.run, [process for process in node_processes() if process.node == "robot"])
    os.environ["ROS_DOMAIN_ID"] = str(robot.domain)
    told = {
        "RMW_IMPLEMENTATION": robot.rmw,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": robot.discovery,
        "FASTDDS_DEFAULT_PROFILES_FILE": robot.profile,
    }
    for name, value in told.items():
        if value:
            os.environ[name] = value
    folder = RunFolder(Path(robot.run)).open()
    print(f"meld: run {folder.name}, ROS domain {robot.domain}, namespace {robot.namespace}", file=sys.stderr)
    from meld_ros.keyboard_node import serve_keyboard

    return serve_keyboard(folder.read_config(), robot.namespace, _show)


def _robot(run: str, robots: list[ProcessSeen]) -> ProcessSeen:
    """The robot_node that is meant. Raises NoRosError in a sentence."""
    known = [robot for robot in robots if robot.run]
    if run:
        by_name = Path(run).name == run and not Path(run).is_dir()
        path = (run_folder(run) if by_name else RunFolder(Path(run))).path.resolve()
        known = [robot for robot in known if Path(robot.run) == path]
    if len(known) == 1:
        return known[0]
    if known:
        names = ", ".join(sorted(Path(robot.run).name for robot in known))
        raise NoRosError(f"{len(known)} arms are up here ({names}): say whose by --run")
    what = f"of run '{run}'" if run else "with a run folder"
    raise NoRosError(f"no robot_node {what} runs on this machine; start one: meld launch robot, or meld train")


def _show(session: Session, interactive: bool) -> _Screen:
    return _Screen(session, interactive)


class _Screen:
    """A live table on a terminal; without one a line whenever something changed."""

    def __init__(self, session: Session, interactive: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._session, self._shown = session, ""
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False) if interactive else None
        if self._live:
            self._live.start()

    def draw(self) -> None:
        """Show what is so now."""
        from rich.table import Table

        from meld_core.teleop.motion import KEY_REQUESTS
        from meld_core.teleop.screen import help_lines, rows

        now = rows(self._session)
        if self._live is None:
            text = "  ".join(f"{name}: {what}" for name, what in now if name in ("gate", "waits for", "tool", "said"))
            if text != self._shown:
                print(text, flush=True)
                self._shown = text
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column()
        for name, what in now:
            grid.add_row(name, what)
        for number, keys in enumerate(help_lines(KEY_REQUESTS)):
            grid.add_row("keys" if number == 0 else "", f"[dim]{keys}[/dim]")
        self._live.update(grid, refresh=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live:
            self._live.stop()
