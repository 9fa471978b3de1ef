"""The lockstep ring without ROS: lost, doubled and late messages, lost policies, stopped arms, missing weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lockstep_ring import SMALL, Ring, running

from meld_core.announce import Announcement, EpisodeKey, GateReport
from meld_core.config import to_mapping
from meld_core.joiner import StepJoiner
from meld_core.learner import Learner
from meld_core.link import Phase
from meld_core.robot import GateState
from meld_core.schedule import Schedule
from meld_core.weights import Weights

KINDS = (
    "task", "reset", "gate_state", "joint_states", "tool_pose", "image", "detector_image", "reward", "truth",
    "executed_action", "action",
)  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed() -> list[bytes]:
    ring = Ring()
    ring.run()
    return ring.files()


def test_two_trials_of_two_episodes_of_four_steps(undisturbed: list[bytes]) -> None:
    ring = Ring()
    ring.run()
    assert [len(trial) for trial in ring.trials] == [10, 10]
    assert ring.host.steps == 16
    assert ring.host.repeated == 0
    for trial in ring.trials:
        assert trial.rows["image"][:, 0, 0, 0].tolist() == (trial.rows["stamp"] // 250_000_000 % 256).tolist()
        moved = np.diff(trial.rows["tool_position"].astype(np.float64), axis=0)[:4]
        np.testing.assert_allclose(moved, 0.020 * trial.rows["action"][:4], atol=1e-7)  # a_t leads from o_t to o_t+1
    assert ring.files() == undisturbed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_kind_of_message_may_be_lost(kind: str, number: int, undisturbed: list[bytes]) -> None:
    ring = Ring(lambda sent, count: sent == kind and count == number)
    ring.run()
    assert ring.lost == {kind: 1}
    assert ring.collector.aborted == []
    assert ring.files() == undisturbed


@settings(max_examples=25, deadline=None)
@given(losses=st.sets(st.tuples(st.sampled_from(KINDS), st.integers(1, 20)), max_size=6))
def test_any_few_losses_change_nothing(losses: set[tuple[str, int]], undisturbed: list[bytes]) -> None:
    seen = dict.fromkeys(KINDS, 0)

    def lose(kind: str, count: int) -> bool:
        seen[kind] += 1
        return (kind, count) in losses and (kind, count - 1) not in losses  # two in a row are another test

    ring = Ring(lose)
    ring.run()
    if not ring.collector.aborted:  # several losses of one step may exhaust the two retries
        assert ring.files() == undisturbed


def test_a_step_without_an_answer_holds_the_arm_and_the_trial_begins_again() -> None:
    deaf = {"on": False}
    ring = Ring(lambda kind, count: deaf["on"] and kind == "action")
    ring.run(until=running(ring, 2))
    deaf["on"] = True
    ring.run(until=lambda: ring.gate.state is GateState.HOLD)
    assert ring.gate.reason == "no command came although the step was published 3 times"
    assert ring.host.repeated == 2
    deaf["on"] = False
    ring.run()
    assert ring.collector.aborted == ["the arm went to HOLD: no command came although the step was published 3 times"]
    assert [trial.meta.aborted for trial in ring.trials] == ["", ""]  # nothing of the first attempt was closed yet
    assert ring.trials[0].meta.id.counter == 0
    assert ring.trials[0].meta.id.boot != "b" * 32


def test_an_aborted_trial_keeps_its_closed_episode() -> None:
    ring = Ring()
    ring.run(until=running(ring, 5))  # one step into the second episode
    ring.gate.stop("a person said so")
    ring._report()
    ring.run(until=lambda: bool(ring.collector.aborted))
    assert [len(trial) for trial in ring.trials] == [5]
    assert ring.trials[0].meta.aborted == "the arm went to STOPPED: a person said so"
    for _ in range(50):
        ring.step()
    assert (ring.gate.state, ring.collector.phase) == (GateState.STOPPED, Phase.RESETTING)
    ring.gate.clear_stop()
    ring.run()
    assert [trial.meta.aborted for trial in ring.trials[1:]] == ["", ""]


def test_a_lease_that_is_interrupted_costs_nothing_in_lockstep(undisturbed: list[bytes]) -> None:
    ring = Ring()
    ring.run(until=running(ring, 3))
    ring.host.policy_lost()
    ring._report()
    assert ring.gate.state is GateState.HOLD
    ring._publish(ring.host.policy_back())
    ring.run()
    assert ring.files() == undisturbed


def test_a_robot_that_starts_afresh_aborts_the_trial() -> None:
    ring = Ring()
    ring.run(until=running(ring, 3))
    ring.collector.on_report(GateReport(GateState.HOLD, "no reset yet", None, 0))
    assert ring.collector.aborted == ["the robot's side started afresh or follows another policy"]
    ring.run()
    assert len(ring.trials) == 2


def test_a_trial_waits_for_exactly_the_weights_of_its_plan() -> None:
    ring = Ring(trials=1)
    plan = dataclasses.replace(Schedule(SMALL).plan(0), needs_weights_through=7)
    ring.collector._plans = lambda index: plan if index == 0 else None
    ring.run(until=lambda: ring.collector.phase is Phase.NEEDS_WEIGHTS)
    for through in (6, 8):
        ring.collector.on_weights(_weights(through))
        assert ring.collector.phase is Phase.NEEDS_WEIGHTS
    ring.collector.on_weights(_weights(7))
    assert ring.collector.phase is Phase.RESETTING
    assert ring.collector._agent.weights_version == 70
    ring.run()
    assert len(ring.trials) == 1


def _weights(through: int) -> Weights:
    class Empty:
        trials = ()

    tensors = Learner(SMALL, Empty(), "ring").weights().tensors
    return Weights(tensors, 10 * through, through, "ring", to_mapping(SMALL))


def test_a_second_policy_is_not_followed_by_time() -> None:
    ring = Ring()
    ring.run(until=running(ring, 2))
    assert ring.host.step is not None
    stamp = ring.host.step.state.stamp
    verdict = ring.host.command(np.ones(3, np.float32), stamp, "another policy")
    assert verdict is not None
    assert (verdict.kind, ring.host.step.state.stamp) == ("sender", stamp)


def test_joiner_hands_out_whole_steps_once_and_in_order() -> None:
    joiner = StepJoiner()
    parts = {"a", "b"}
    joiner.add("a", 20, "a20")
    joiner.add("a", 10, "a10")
    joiner.add("b", 20, "b20")
    joiner.add("b", 10, "b10")
    assert joiner.take(parts, since=11) == (20, {"a": "a20", "b": "b20"})
    assert joiner.take(parts, since=0) is None
    assert not joiner.add("a", 20, "again")
    assert not joiner.add("a", 15, "late")


def test_joiner_may_skip_to_the_newest_step() -> None:
    joiner = StepJoiner()
    for stamp in (10, 20, 30):
        joiner.add("a", stamp, stamp)
    joiner.add("b", 20, 21)
    assert joiner.take({"a", "b"}, 0, newest=True) == (20, {"a": 20, "b": 21})
    assert joiner.take({"a"}, 0, newest=True) == (30, {"a": 30})


def test_joiner_keeps_only_a_few_open_steps() -> None:
    joiner = StepJoiner()
    for stamp in range(1, 7):
        joiner.add("a", stamp, stamp)
    assert [joiner.take({"a"}, 0) for _ in range(5)] == [(s, {"a": s}) for s in (3, 4, 5, 6)] + [None]


def test_announcement_and_report_survive_json() -> None:
    announcement = Announcement(EpisodeKey("run", "b", 3, 1), Schedule(SMALL).plan(3).task)
    assert Announcement.from_json(announcement.to_json()) == announcement
    for key in (None, announcement.key):
        report = GateReport(GateState.HOLD, "why not", key, 7, ("image",))
        assert GateReport.from_json(report.to_json()) == report


@given(
    st.one_of(
        st.text(max_size=40), st.sampled_from(["{}", "[]", "null", '{"state": "OPEN"}', '{"run": 1, "boot": ""}'])
    )
)
def test_damaged_json_is_one_sentence(text: str) -> None:
    for parse in (Announcement.from_json, GateReport.from_json):
        with pytest.raises(ValueError, match="this (announces no task|is no gate state)"):
            parse(text)
