"""Plays scenarios again and again, and soaks: prints one JSON object per fault. For `meld bench safety`.

python -m test.faults.measure --repetitions 10
python -m test.faults.measure --soak 30
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from meld_ros.domain import own_domain
from meld_ros.network import network_environment
from test.faults.scenarios import SCENARIOS, SOAK
from test.faults.stage import PATIENT, Outcome, Stage
from test.ros.conftest import Ros


@contextmanager
def ros_of_its_own() -> Iterator[Ros]:
    """A domain, a folder and a context that nobody else uses."""
    local = {"RMW_IMPLEMENTATION": "rmw_fastrtps_cpp", **network_environment("", {})}
    with tempfile.TemporaryDirectory(prefix="meld-safety-") as folder, own_domain() as domain:
        own = {} if domain is None else {"ROS_DOMAIN_ID": str(domain)}
        os.environ.update(local | own | {"ROS_LOG_DIR": folder})
        ros = Ros(Path(folder))
        try:
            yield ros
        finally:
            ros.close()
            for name in own:
                del os.environ[name]


def tell(**what: Any) -> None:
    """One line for whoever started this."""
    print(json.dumps(what), flush=True)


def report(name: str, outcome: Outcome, **about: Any) -> None:
    """One fault that was played."""
    tell(fault=name, **about, **{**dataclasses.asdict(outcome), "unsafe": sum(outcome.unsafe.values())})


def repeat(name: str, repetitions: int) -> None:
    """One scenario, so many times. Where the machine is too busy to get a stage ready, on another stage."""
    left, stages = repetitions, 2 * repetitions + 2
    while left and stages:
        stages -= 1
        with ros_of_its_own() as ros, suppress(AssertionError):
            left -= on_one_stage(name, SCENARIOS[name].stage(ros), left)


def on_one_stage(name: str, stage: Stage, repetitions: int) -> int:
    """One scenario on one stage, for as long as both bear it. Returns how often it was played."""
    for played in range(1, repetitions + 1):
        report(name, SCENARIOS[name].play(stage))
        if SCENARIOS[name].fresh or played == repetitions:
            return played
        try:
            stage.recover()
        except AssertionError:
            return played
    return repetitions


def soak(minutes: float, every: float, seed: int) -> None:
    """One stage, a random fault every so many seconds."""
    rng, end = random.Random(seed), time.monotonic() + 60 * minutes
    with ros_of_its_own() as ros:
        stage = Stage(ros, *PATIENT, commander={"axis": 0})
        while time.monotonic() < end:
            due = stage.fault(lambda: None) + every
            name = rng.choice(SOAK)
            try:
                outcome = SCENARIOS[name].play(stage)
            except AssertionError as error:  # the machine was too busy for one of its deadlines
                outcome = stage.conclude(Outcome(complaints=[f"not played to its end: {error}"]))
            report(name, outcome, soak=True)
            try:
                stage.recover()
                stage.moving()
                stage.lasts(max(0.0, min(due, end) - time.monotonic()))
            except AssertionError as error:
                report("nothing", Outcome(complaints=[f"did not go on: {error}"]), soak=True)
            between = stage.conclude()
            if between.complaints:
                report("nothing", between, soak=True)
        tell(minutes=minutes, samples=len(stage.recording.ticks()), cleared=stage.cleared, memory=rss(stage.robot.pid))


def rss(process: int) -> float:
    """Memory of a process [MB]."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(SCENARIOS))
    parser.add_argument("--soak", type=float, default=0.0)
    parser.add_argument("--every", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for name in given.only if given.repetitions else ():
        scenario = SCENARIOS[name]
        tell(scenario=name, number=scenario.number, what=scenario.what, promise=scenario.promise)
        repeat(name, given.repetitions)
    if given.soak:
        soak(given.soak, given.every, given.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
