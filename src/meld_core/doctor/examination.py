"""The examination: every check on one snapshot, and when enough was heard for that."""

from __future__ import annotations

import itertools

from meld_core.doctor import graph_checks, machine_checks, sense_checks
from meld_core.doctor.snapshot import Finding, Snapshot, TopicSeen

CHECKS = (*machine_checks.CHECKS, *graph_checks.CHECKS, *sense_checks.CHECKS)
"""In the order of cause and effect."""
_DISCOVERY = 5.0
"""Until then an unknown node may only be slow to be found [s]."""
_PICTURES, _JOINTS = 5, 50


def examine(seen: Snapshot) -> list[Finding]:
    """All findings, errors first."""
    found = list(itertools.chain.from_iterable(check(seen) for check in CHECKS))
    return sorted(found, key=lambda finding: finding.severity != "error")


def enough(seen: Snapshot) -> bool:
    """Whether listening on would tell nothing new of a healthy graph."""
    if seen.config is None or (not seen.runs and seen.watched < _DISCOVERY):
        return False
    everybody = not seen.runs or (seen.expected.keys() <= seen.statuses.keys() & seen.parameters.keys())
    if not everybody or not _each_process_heard(seen):
        return False
    if not seen.behind_driver:
        return True
    pause = max(1.0, 1.5 * seen.config.camera.frozen_time)
    judged = "reward" not in seen.statuses or _long(seen.topic("reward"), 3, 0.0)
    senses = _long(seen.topic("image"), _PICTURES, pause) and _long(seen.topic("driver.joint_states"), _JOINTS, 0.5)
    return judged and senses


def _each_process_heard(seen: Snapshot) -> bool:
    """Whether a node that runs twice on this machine was heard twice: the second may be slow to be found."""
    ours = [p.node for p in seen.processes if (p.namespace, p.domain) == (seen.namespace, seen.domain)]
    return all(status.sources >= ours.count(node) for node, status in seen.statuses.items())


def _long(topic: TopicSeen, count: int, pause: float) -> bool:
    return len(topic.heard) >= count and topic.heard[-1].at - topic.heard[0].at >= pause
