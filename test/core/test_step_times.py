"""Stages of a step, by hand: moments in ms of the system clock, stamps as they are in realtime and in lockstep."""

from __future__ import annotations

import json

import pytest

from meld_core.config import Config, RobotConfig
from meld_core.step_times import STAGES, StepTimes, checked_row, latency_table

MS = 1_000_000


class Hand:
    """Says what happens when."""

    def __init__(self, period: float | None, wall_stamps: bool) -> None:
        self.now = 0
        self.times = StepTimes(period, wall_stamps, clock=lambda: self.now * MS)

    def part(self, at: int, name: str, stamp: int, published: int) -> None:
        self.now = at
        self.times.part(name, stamp * MS, published * MS)

    def command(self, at: int, stamp: int) -> None:
        self.now = at
        self.times.commanded(stamp * MS)

    def executed(self, at: int, stamp: int, published: int) -> None:
        self.now = at
        self.times.executed(stamp * MS, published * MS)

    def step(self, stamp: int, late: int = 0) -> None:
        """Picture published 2 ms after its stamp, here 1 ms later; command 4 ms after that; executed 3 ms later."""
        self.part(stamp + 3, "image", stamp, stamp + 2)
        self.part(stamp + 3, "reward", stamp, stamp + 3)
        self.command(stamp + 7, stamp)
        self.executed(stamp + 11 + late, stamp, stamp + 10 + late)

    def longest(self) -> dict[str, float]:
        return {name: histogram.longest * 1e3 for name, histogram in self.times.stages.items()}

    def counts(self) -> dict[str, int]:
        return {name: histogram.count for name, histogram in self.times.stages.items()}


def test_a_step_in_realtime_is_split_by_what_was_published_and_what_came() -> None:
    hand = Hand(0.05, wall_stamps=True)
    hand.part(1009, "image", 1000, 1004)
    hand.part(1010, "joint_states", 1000, 1005)
    hand.part(1020, "reward", 1000, 1016)
    hand.command(1026, 1000)
    hand.executed(1040, 1000, 1034)
    assert hand.longest() == pytest.approx(
        {"capture": 4, "transport": 5, "reward": 12, "join": 11, "infer": 6, "gate": 8, "total": 34}
    )
    assert (hand.times.due, hand.times.missed) == (1, 0)


def test_what_comes_again_or_late_changes_nothing() -> None:
    hand = Hand(0.05, wall_stamps=True)
    hand.step(1000)
    before = hand.longest()
    hand.part(1060, "image", 1000, 1059)
    hand.command(1061, 1000)
    hand.executed(1062, 1000, 1061)
    hand.executed(1063, 900, 1063)
    assert hand.longest() == before
    assert hand.counts() == dict.fromkeys(STAGES, 1)


def test_in_lockstep_stamps_tell_nothing_of_capture_and_a_step_begins_with_its_picture() -> None:
    hand = Hand(None, wall_stamps=False)
    hand.part(5001, "image", 250, 5000)
    hand.part(5003, "reward", 250, 5002)
    hand.command(5004, 250)
    hand.executed(5020, 250, 5019)
    assert hand.counts()["capture"] == 0
    assert hand.longest()["total"] == pytest.approx(19)
    assert "missed" not in hand.times.row()
    assert "capture [ms]" not in hand.times.values()


def test_a_step_is_missed_when_it_is_late_or_passed_over() -> None:
    """Period 50 ms: 1000 and 1050 in time, 1100 a little late (10 + 41 ms), 1150 and 1200 never acted on."""
    hand = Hand(0.05, wall_stamps=True)
    hand.step(1000)
    hand.step(1050, late=40)
    hand.step(1100, late=41)
    hand.part(1153, "image", 1150, 1152)
    hand.step(1250)
    assert (hand.times.due, hand.times.missed) == (6, 3)
    hand.times.begin()
    hand.step(9000)
    assert (hand.times.due, hand.times.missed) == (7, 3), "between two episodes nothing is due"
    assert hand.times.values()["missed steps"] == "3 of 7"


def test_the_next_picture_may_come_before_the_word_of_what_was_executed() -> None:
    hand = Hand(0.05, wall_stamps=True)
    hand.part(1003, "image", 1000, 1002)
    hand.command(1007, 1000)
    hand.part(1053, "image", 1050, 1052)
    hand.executed(1056, 1000, 1055)
    hand.command(1057, 1050)
    hand.executed(1060, 1050, 1059)
    assert hand.counts()["total"] == 2
    assert (hand.times.due, hand.times.missed) == (2, 1)


def test_a_row_crosses_the_network_and_is_checked() -> None:
    hand = Hand(0.05, wall_stamps=True)
    hand.step(1000)
    row = {"trial": 4, **hand.times.row()}
    assert checked_row({**json.loads(json.dumps(row)), "event": "latency"}) == row
    assert (row["due"], row["missed"], row["latency/total_max_ms"]) == (1, 0, 10.0)
    for damaged in ({"trial": "4"}, {"due": None}, {"latency/total_max_ms": float("nan")}, {"missed": 0.5}):
        with pytest.raises(ValueError, match="no times of steps"):
            checked_row({**row, **damaged})
    with pytest.raises(ValueError, match="trial or due is missing"):
        checked_row({"trial": 4})


def test_a_table_shows_the_stages_that_were_seen() -> None:
    hand = Hand(None, wall_stamps=False)
    hand.step(1000)
    assert [line[0] for line in latency_table(hand.times.row())] == [stage for stage in STAGES if stage != "capture"]
    assert latency_table(hand.times.row())[-1] == ("total", "8.0", "8.0", "8.0", "8.0")


def test_the_settings_say_which_clock_stamps_are_of() -> None:
    realtime = Config(robot=RobotConfig(mode="realtime", control_period=0.1))
    assert "missed" in StepTimes.of(realtime, clock_topic=False).row()
    simulated = StepTimes.of(realtime, clock_topic=True)
    simulated.part("image", 5, 10**18)
    assert simulated.stages["capture"].count == 0
    assert "missed" not in StepTimes.of(Config(), clock_topic=False).row()
