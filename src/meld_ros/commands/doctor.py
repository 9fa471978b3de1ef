"""`meld doctor`: looks at settings, machine and running graph, and says what is wrong and what would do."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from meld_core.config import Config, ConfigError
from meld_core.doctor.examination import enough, examine
from meld_core.doctor.machine import look_at_machine
from meld_core.doctor.snapshot import Finding, ProcessSeen, Snapshot
from meld_core.storage.run_folder import RunError, RunFolder, named_run
from meld_ros.commands.training import has_ros
from meld_ros.doctor_processes import node_processes
from meld_ros.graph import GRAPHS, Options, parameters_of, takes_part
from meld_ros.network import join_graph
from meld_ros.share import resolve_config

if TYPE_CHECKING:
    from meld_ros.commands.arguments import Doctor

_LOOK = 0.25
"""While listening, what was heard is looked at this often [s]."""
_OUTSIDE_CONFIG = ("run_folder", "weights")
"""Parameters that may differ from what is known here."""


def run_doctor(command: Doctor, line: str) -> int:
    """Examine, show; 0 where nothing was found, else 1."""
    with Console(stderr=True).status("looking at settings and machine") as status:
        seen, folder = _begin(command)
        config = seen.config
        if config is not None and has_ros() and not seen.machine.ros:
            seen = _listen(seen, config, folder, command.patience, status)
            if not command.mode and not seen.processes:
                seen = _of_the_graph_heard(seen, config, folder)
    findings = examine(seen)
    if command.json:
        print(json.dumps({"healthy": not findings, "findings": [f.to_json() for f in findings], "facts": facts(seen)}))
    else:
        _show(seen, findings)
    return 1 if findings else 0


def _begin(command: Doctor) -> tuple[Snapshot, RunFolder | None]:
    """All that can be told before listening."""
    processes = node_processes()
    folder = _folder(command, processes)
    config, problem = _config(command, folder)
    ours = tuple(p for p in processes if folder is not None and p.run and Path(p.run) == folder.path.resolve())
    told = next((process.mode for process in ours if process.mode), "")
    mode = command.mode or _mode({process.node for process in ours}, told)
    machine = look_at_machine(config, folder.path if folder else None, mode, command.patience)
    namespace = command.namespace or next((process.namespace for process in ours), "/")
    return Snapshot(
        config=config,
        config_problem=problem,
        config_where=str(folder.config_file) if folder else command.config or "the command line",
        mode=mode,
        domain=_domain(ours),
        namespace="/" + namespace.strip("/"),
        machine=machine,
        processes=ours,
    ), folder


def _folder(command: Doctor, processes: list[ProcessSeen]) -> RunFolder | None:
    """The run that was named; where nothing was named, the only one whose graph runs here (in the shell's domain)."""
    if command.run:
        return named_run(command.run).open()
    own = os.environ.get("ROS_DOMAIN_ID")
    running = {process.run for process in processes if process.run and own in (None, "", str(process.domain))}
    named = command.config or command.set or (command.robot, command.task) != ("mujoco", "insertion")
    return None if named or len(running) != 1 else RunFolder(Path(running.pop()))


def _config(command: Doctor, folder: RunFolder | None) -> tuple[Config | None, str]:
    try:
        if folder is not None:
            return folder.read_config(), ""
        overrides = list(itertools.chain(*command.set))
        return resolve_config(command.robot, command.task, command.config, overrides), ""
    except (ConfigError, RunError) as error:
        return None, str(error)


def _domain(processes: tuple[ProcessSeen, ...]) -> int:
    """The shell's own, else that of the run's nodes."""
    own = os.environ.get("ROS_DOMAIN_ID")
    return int(own) if own else next((process.domain for process in processes), 0)


def _mode(nodes: set[str], told: str) -> str:
    """The graph that a policy was started for, else the smallest one that has all nodes that run."""
    if told:
        return told
    fits = [mode for mode, specs in GRAPHS.items() if nodes <= {spec.name for spec in specs}]
    return min(fits, key=lambda mode: len(GRAPHS[mode]), default="train") if nodes else "train"


def _expected(seen: Snapshot, config: Config, folder: RunFolder | None) -> dict[str, Mapping[str, Any]]:
    options = Options(folder=folder.path.resolve() if folder else Path())
    specs = [spec for spec in GRAPHS[seen.mode] if takes_part(spec, config)]
    every = {spec.name: parameters_of(spec, seen.mode, config, options) for spec in specs}
    return {node: {k: v for k, v in its.items() if k not in _OUTSIDE_CONFIG} for node, its in every.items()}


def _listen(seen: Snapshot, config: Config, folder: RunFolder | None, patience: float, status: Any) -> Snapshot:
    from meld_ros.doctor_probe import listening

    join_graph(next((process.peer for process in seen.processes), ""))
    seen = dataclasses.replace(seen, expected=_expected(seen, config, folder))
    began = time.monotonic()
    with listening(config, seen.expected, seen.namespace, seen.domain) as (probe, serve):
        while not enough(seen) and seen.watched < patience:
            serve(_LOOK)
            probe.ask_parameters()
            seen = dataclasses.replace(
                seen,
                watched=time.monotonic() - began,
                statuses=dict(probe.statuses),
                parameters=dict(probe.parameters),
                nodes=probe.nodes(),
                topics=probe.topics(),
                gate=probe.gate,
            )
            heard = f"{len(seen.statuses)} of {len(seen.expected)} nodes heard"
            status.update(f"listening in ROS domain {seen.domain}, namespace {seen.namespace}: {heard}")
    return seen


def _of_the_graph_heard(seen: Snapshot, config: Config, folder: RunFolder | None) -> Snapshot:
    """A graph on another computer tells by itself what it is."""
    told = str(seen.parameters.get("policy", {}).get("mode", ""))
    seen = dataclasses.replace(seen, mode=_mode(set(seen.statuses), told))
    return dataclasses.replace(seen, expected=_expected(seen, config, folder))


def facts(seen: Snapshot) -> dict[str, str]:
    """What was looked at, for people."""
    graph = f"{', '.join(sorted(seen.statuses)) or 'none'} of {', '.join(seen.expected)}" if seen.expected else "none"
    return {
        "settings": seen.config_where,
        "graph": f"{seen.mode}, ROS domain {seen.domain}, namespace {seen.namespace}",
        "nodes heard": graph,
        "gate": str(seen.gate.get("state", "not heard")),
        "disk": f"{seen.machine.free / 1000:.1f} GB free in {seen.machine.folder}",
        **seen.machine.facts,
    }


def _show(seen: Snapshot, findings: list[Finding]) -> None:
    console = Console()
    for name, value in facts(seen).items():
        console.print(f"{name:<12} {escape(value)}", highlight=False)
    if not findings:
        console.print("nothing found" if seen.runs else "nothing found; no graph runs", highlight=False)
        return
    table = Table(show_lines=True)
    for column in ("finding", "what was found", "what would do", "where"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        colour = "red" if finding.severity == "error" else "yellow"
        cells = (escape(part) for part in (finding.found, finding.remedy, finding.where))
        table.add_row(f"[{colour}]{finding.name}[/{colour}]", *cells)
    console.print(table)
