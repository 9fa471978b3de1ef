"""Findings about the nodes of a graph: who is there, whom they hear, what they were given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from meld_core.doctor.snapshot import Endpoint, Finding, Snapshot

_DEAD = {
    "camera": ("error", "start the graph again; its log says why it ended"),
    "robot": ("error", "start the graph again; the arm's driver holds meanwhile"),
    "reward": ("error", "start the graph again; without judgements nothing is learned"),
    "policy": ("error", "start the graph again; nobody commands the arm, which holds"),
    "trainer": ("error", "start the graph again, it goes on where it was; trials wait in the spool meanwhile"),
    "teleop": ("error", "start the graph again; nobody can bring the arm to its start pose by hand"),
    "view": ("warning", "start the graph again; RViz shows no belief and no workspace"),
}
_SHOWN = 3
"""Differing parameters of a node that are listed."""
_TWICE = {"robot": "gate.two", "policy": "policy.two", "trainer": "trainer.two"}


def check_nodes(seen: Snapshot) -> Iterator[Finding]:
    """Whether every node of the graph gives a sign of life, and only one of each."""
    if not seen.runs:
        return
    for node in seen.expected:
        if node in seen.statuses:
            yield from _doubled(node, seen)
        elif not (node == "robot" and seen.gate.get("state") == "RESET"):  # on its way it says nothing
            severity, remedy = _DEAD[node]
            found = f"{node}_node gave no sign of life on /diagnostics in {seen.watched:.0f} s"
            yield Finding(f"{node}.silent", severity, found, remedy, f"logs/{node}.log of the run")


def _doubled(node: str, seen: Snapshot) -> Iterator[Finding]:
    sources = seen.statuses[node].sources
    if sources > 1:
        found = f"{sources} processes are {node}_node in namespace {seen.namespace}"
        remedy = "stop all but one, or give each robot a namespace of its own"
        yield Finding(_TWICE.get(node, f"{node}.two"), "error", found, remedy, "namespace:= of the launch files")


def check_qos(seen: Snapshot) -> Iterator[Finding]:
    """Whether publishers and subscribers of each topic can match."""
    told: set[tuple[str, str]] = set()
    for topic, ends in sorted(seen.topics.items()):
        for publisher in ends.publishers:
            for subscriber in ends.subscribers:
                reason = mismatch(publisher, subscriber)
                if reason and (topic, reason) not in told:
                    told.add((topic, reason))
                    found = f"{topic}: {publisher.node} does not reach {subscriber.node}: {reason}"
                    yield Finding("qos.mismatch", "error", found, f"set the QoS of {publisher.node} accordingly", topic)


def mismatch(publisher: Endpoint, subscriber: Endpoint) -> str:
    """Why nothing passes between two ends of a topic; '' where it does (About-Quality-of-Service-Settings)."""
    if publisher.type != subscriber.type:
        return f"one sends {publisher.type}, the other wants {subscriber.type}"
    if subscriber.reliable and not publisher.reliable:
        return "one sends best effort, the other wants it reliable"
    if subscriber.latched and not publisher.latched:
        return "one sends volatile, the other wants transient local"
    if publisher.lease > subscriber.lease:
        return f"one offers a liveliness lease of {publisher.lease:g} s, the other wants {subscriber.lease:g} s"
    return ""


def check_gate(seen: Snapshot) -> Iterator[Finding]:
    """Whether the arm may move at all."""
    if seen.gate.get("state") == "STOPPED":
        remedy = "see that the arm is free, then `ros2 service call clear_stop std_srvs/srv/Trigger`"
        yield Finding("gate.stopped", "error", f"the arm is STOPPED: {seen.gate.get('reason')}", remedy, "clear_stop")


def check_parameters(seen: Snapshot) -> Iterator[Finding]:
    """Whether each node has what the config says."""
    for node, expected in sorted(seen.expected.items()):
        has = seen.parameters.get(node, {})
        differ = [
            f"{name} = {has[name]!r}, the config says {value!r}"
            for name, value in sorted(expected.items())
            if name in has and name != "use_sim_time" and not _equal(has[name], value)
        ]
        if differ:
            more = f"; and {len(differ) - _SHOWN} more" if len(differ) > _SHOWN else ""
            found = f"{node}_node has {'; '.join(differ[:_SHOWN])}{more}"
            remedy = "start the graph again, or look with the settings that it was started with (--run)"
            yield Finding("parameters.differ", "error", found, remedy, differ[0].partition(" ")[0])


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return (
            isinstance(one, float | int) and isinstance(other, float | int) and math.isclose(one, other, abs_tol=1e-9)
        )
    return bool(one == other)


def check_sim_time(seen: Snapshot) -> Iterator[Finding]:
    """Whether all nodes take the time from the same clock, and whether that clock ticks."""
    told: Mapping[str, bool] = {n: bool(p["use_sim_time"]) for n, p in seen.parameters.items() if "use_sim_time" in p}
    where = "use_sim_time:= of the launch files"
    if len(set(told.values())) > 1:
        simulated = ", ".join(node for node, value in sorted(told.items()) if value)
        others = ", ".join(node for node, value in sorted(told.items()) if not value)
        found = f"{simulated} take their time from /clock, {others} do not"
        yield Finding("clock.sim_time", "error", found, "start all nodes with the same use_sim_time", where)
    elif any(told.values()) and seen.behind_driver and not seen.topic("/clock").heard:
        found = "the nodes take their time from /clock, on which nobody speaks: it stands still"
        yield Finding("clock.sim_time", "error", found, "start what publishes /clock (Gazebo), or switch it off", where)


def check_weights_age(seen: Snapshot) -> Iterator[Finding]:
    """Whether the policy acts with what the trainer has learned."""
    if seen.config is None or not {"policy", "trainer"} <= seen.statuses.keys():
        return
    age = _number(seen.statuses["policy"].values.get("policy age [trials]", ""))
    allowed = 2 * (seen.config.train.lead + seen.config.learner.update_every)
    if age is not None and age > allowed:
        found = f"the policy acts with weights {age:.0f} trials old, {allowed} are expected at most"
        remedy = "see on /diagnostics why it refuses newer ones, or give the trainer more of the machine"
        yield Finding("weights.old", "warning", found, remedy, "logs/policy.log of the run")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


_NAMED_ELSEWHERE = ("camera", "robot")
"""What these report as errors has findings of its own."""


def check_reports(seen: Snapshot) -> Iterator[Finding]:
    """Errors that nodes tell themselves."""
    for node, status in sorted(seen.statuses.items()):
        if status.level == "error" and node not in _NAMED_ELSEWHERE:
            remedy = "what it says"
            yield Finding(f"{node}.reports", "error", f"{node}_node: {status.message}", remedy, f"logs/{node}.log")


CHECKS = (check_nodes, check_qos, check_gate, check_parameters, check_sim_time, check_weights_age, check_reports)
