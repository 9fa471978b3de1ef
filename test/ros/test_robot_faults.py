"""robot_node under faults: bad commands, a killed policy, stop, wrong pictures. Times are measured and printed."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from meld_core.config import Config
from meld_core.priority import AUTOGROUP, NICENESS
from meld_core.step_times import STAGES, checked_row, latency_table
from meld_core.storage.run_folder import RunFolder
from meld_ros import conversions as msgs
from meld_ros.robot_node import RobotNode

from .conftest import Ros
from .stand_ins import HandPolicy, Listener, StandInTrainer, parameters

ROBOT = ("robot", "gate", "task", "sim", "reward")


@pytest.fixture
def hand(ros: Ros, small: Config) -> HandPolicy:
    """A robot in lockstep and a policy that the test moves."""
    ros.node_apart(RobotNode, **parameters(small, *ROBOT))
    return HandPolicy(ros, small)


def test_nan_executes_as_hold_and_a_stale_stamp_uses_no_time(ros: Ros, hand: HandPolicy) -> None:
    first = hand.begin()
    hand.command([0.5, 0.0, 0.0], first)
    ros.until(lambda: hand.newest() > first, "the second step")
    second = hand.newest()
    assert [(stamp, action.tolist()) for stamp, action in hand.executed] == [(first, [0.5, 0.0, 0.0])]
    hand.command([0.5, 0.0, 0.0], first - 10**9)
    hand.hears("robot", "refused", "an observation of 1.250 s ago")
    hand.command([0.5, 0.0, 0.0], second + 10**9)
    hand.hears("robot", "refused", "1.000 s in the future")
    assert hand.newest() == second
    hand.command([float("nan"), 0.0, 0.0], second)
    hand.hears("robot", "refused", "an action is 3 finite numbers, got [nan, 0.0, 0.0]")
    ros.until(lambda: hand.newest() > second, "the third step")
    assert (hand.executed[-1][0], hand.executed[-1][1].tolist()) == (second, [0.0, 0.0, 0.0])


def test_a_second_policy_is_refused(ros: Ros, hand: HandPolicy, small: Config) -> None:
    first = hand.begin()
    hand.command([0.1, 0.0, 0.0], first)
    ros.until(lambda: hand.newest() > first, "the second step")
    other = HandPolicy(ros, small, boot="other")
    ros.until(other.action.get_subscription_count, "the match of the second policy")
    other.command([1.0, 1.0, 1.0], hand.newest())
    hand.hears("robot", "refused", "owns the arm")
    assert len(hand.executed) == 1
    hand.command([0.2, 0.0, 0.0], hand.newest())
    ros.until(lambda: len(hand.executed) == 2, "the step of the first")
    assert hand.executed[1][1].tolist() == pytest.approx([0.2, 0.0, 0.0])


def test_reset_is_refused_without_a_task_and_repeats_nothing(ros: Ros, hand: HandPolicy) -> None:
    client = hand.node.create_client(msgs.SERVICE, msgs.RESET)
    ros.until(client.service_is_ready, "the service")
    answer = client.call_async(msgs.SERVICE.Request())
    ros.until(answer.done, "the answer")
    assert (answer.result().success, answer.result().message) == (False, "no task was announced")
    first = hand.begin()
    count = len(hand.stamps)
    answer = client.call_async(msgs.SERVICE.Request())
    ros.until(lambda: answer.done() and len(hand.stamps) > count, "the same step again")
    assert answer.result().success
    assert set(hand.stamps) == {first}


def test_stop_is_latched_until_clear_stop(ros: Ros, hand: HandPolicy) -> None:
    first = hand.begin()
    stop = hand.node.create_client(msgs.SERVICE, msgs.STOP)
    ros.until(stop.service_is_ready, "the stop service")
    answer = stop.call_async(msgs.SERVICE.Request())
    took = hand.sees("STOPPED")
    print(f"gate_state STOPPED {1000 * took:.0f} ms after the call of stop")
    ros.until(answer.done, "its answer")
    hand.command([0.5, 0.0, 0.0], first)
    hand.hears("robot", "STOPPED the stop service was called")
    assert hand.executed == []
    assert not _call(ros, hand, msgs.RESET)
    assert _call(ros, hand, msgs.CLEAR_STOP)
    hand.sees("HOLD")
    assert hand.begin(trial=1) > first


def _call(ros: Ros, hand: HandPolicy, name: str) -> bool:
    client = hand.node.create_client(msgs.SERVICE, name)
    ros.until(client.service_is_ready, name)
    answer = client.call_async(msgs.SERVICE.Request())
    ros.until(answer.done, name)
    return bool(answer.result().success)


@pytest.mark.parametrize("mode", ["lockstep", "realtime"])
def test_a_killed_policy_leaves_a_holding_arm_and_another_one_goes_on(
    ros: Ros, small: Config, run: RunFolder, mode: str
) -> None:
    robot = dataclasses.replace(small.robot, mode=mode, control_period=0.1)
    task = dataclasses.replace(small.task, horizon=500, episode_form="fixed_length")
    config = dataclasses.replace(small, robot=robot, task=task)
    trainer, listener = StandInTrainer(ros, trials=2), Listener(ros)
    nodes = ros.start_graph("train", config, run, "robot", "reward", "policy")
    executed: list[Any] = []
    msgs.subscription(listener.node, msgs.EXECUTED_ACTION, executed.append)
    ros.until(lambda: len(executed) > 10, "some steps")
    before = listener.reports[-1]
    nodes["policy"].send_signal(signal.SIGKILL)
    took = listener.sees("HOLD")
    print(f"{mode}: HOLD {1000 * took:.0f} ms after kill -9 (lease {1000 * config.gate.policy_lease:.0f} ms)")
    assert listener.reports[-1].reason == "the policy was lost"
    count = len(executed)
    ros.start_graph("train", config, run, "policy")
    listener.sees("POLICY")
    assert before.key is not None
    after = listener.reports[-1].key
    assert after is not None
    assert (after.trial, after.episode) == (0, 0)
    assert after.boot != before.key.boot
    ros.until(lambda: len(executed) > count + 3, "steps of the second policy")
    assert trainer.trials == {}


def test_a_picture_of_the_wrong_size_is_refused_on_diagnostics(ros: Ros, small: Config, run: RunFolder) -> None:
    other = dataclasses.replace(small, sim=dataclasses.replace(small.sim, image_size=16))
    listener = Listener(ros)
    trainer = StandInTrainer(ros, trials=2)
    ros.node_apart(RobotNode, **parameters(other, *ROBOT))
    ros.start_graph("train", small, run, "policy")
    listener.hears("policy", "refused", "image: an image of 16x32 came, expected 32x64 (width x height)")
    assert trainer.trials == {}


def test_realtime_publishes_at_the_control_rate_and_lets_commands_expire(ros: Ros, small: Config) -> None:
    config = dataclasses.replace(small, robot=dataclasses.replace(small.robot, mode="realtime", control_period=0.1))
    robot = ros.node_apart(RobotNode, **parameters(config, *ROBOT))
    hand = HandPolicy(ros, config)
    hand.begin()
    stamp = hand.newest()
    hand.command([1.0, 0.0, 0.0], stamp)
    ros.until(lambda: hand.executed, "the command")
    assert hand.executed[0][0] == stamp
    ros.until(lambda: robot._gate.counters["expired"] == 1, "its expiry")
    ros.until(lambda: hand.newest() > stamp + 500_000_000, "half a second of physics")
    resting = robot._robot.observe()
    assert np.abs(resting.velocities).max() < 0.01
    assert np.median(np.diff(sorted(set(hand.stamps)))) == pytest.approx(100_000_000, rel=0.2)


def test_a_rehearsal_in_realtime_is_judged_and_timed_without_simulated_time(
    ros: Ros, small: Config, run: RunFolder
) -> None:
    """Nodes compare its stamps with the system's clock, as those of a camera: its pictures are of now."""
    robot = dataclasses.replace(small.robot, mode="realtime", control_period=0.1)
    patient = dataclasses.replace(small.reward, stale_after=10.0)
    config = dataclasses.replace(small, robot=robot, reward=patient)
    trainer, listener = StandInTrainer(ros, trials=2), Listener(ros)
    events: list[dict[str, Any]] = []
    msgs.subscription(listener.node, msgs.TRIAL_EVENTS, lambda msg: events.append(msgs.json_from_msg(msg)))
    ros.start_graph("train", config, run, "robot", "reward", "policy")
    ros.until(lambda: any(event["event"] == "latency" for event in events), "the times of steps")
    ros.until(lambda: len(trainer.trials) >= 2, "the trials")
    now = time.time_ns()
    for trial in trainer.trials.values():
        judged = trial.rows["reward_valid"] & ~trial.rows["first_in_episode"]
        assert judged.any()
        assert (np.abs(now - trial.rows["stamp"]) < 600 * 10**9).all()
    row = checked_row(next(event for event in events if event["event"] == "latency"))
    assert {line[0] for line in latency_table(row)} == set(STAGES)
    assert 0 <= row["missed"] <= row["due"] > 0


@pytest.mark.parametrize(("mode", "niceness"), [("lockstep", 0), ("realtime", 10)])
def test_in_realtime_the_trainer_takes_what_others_leave(ros: Ros, small: Config, mode: str, niceness: int) -> None:
    config = dataclasses.replace(small, robot=dataclasses.replace(small.robot, mode=mode))
    listener = Listener(ros)
    trainer = ros.start_graph("train", config, RunFolder(ros.folder / mode).create(config), "trainer")["trainer"]
    listener.hears("trainer", "waiting for trials")
    assert os.getpriority(os.PRIO_PROCESS, trainer.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + niceness)


WEIGHT_OF_SESSION = """
import os, subprocess, sys
from pathlib import Path
from meld_core.priority import *

def weight(process="self"):
    said = Path(f"/proc/{process}/autogroup")
    return said.read_text().split()[-1] if said.is_file() else "none"
"""
"""A kernel that shares processors between processes and not between sessions has no such weights: "none"."""


def said_in_a_session(code: str) -> list[str]:
    """What a process says that leads a session of its own."""
    command = [sys.executable, "-c", WEIGHT_OF_SESSION + code]
    return subprocess.run(command, start_new_session=True, capture_output=True, text=True, check=True).stdout.split()


def weight_of(niceness: int) -> str:
    """Of a session that was given this niceness."""
    return str(niceness) if AUTOGROUP.is_file() else "none"


def test_a_process_with_a_session_of_its_own_lets_the_session_give_way() -> None:
    """As the supervisor starts nodes. A process that shares a session leaves the session its weight."""
    niced = str(min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS))
    assert said_in_a_session("give_way(); print(weight(), os.nice(0))") == [weight_of(NICENESS), niced]
    code = "give_way(); print(weight(), os.nice(0))"
    shared = f"subprocess.run([sys.executable, '-c', {WEIGHT_OF_SESSION + code!r}], check=True)"
    assert said_in_a_session(shared) == [weight_of(0), niced]


def test_a_graph_that_was_started_nicely_is_nice_in_every_session() -> None:
    code = (
        "os.nice(7); child = subprocess.Popen(['cat'], stdin=subprocess.PIPE, start_new_session=True); "
        "share_niceness(child.pid); print(weight(child.pid)); child.communicate()"
    )
    assert said_in_a_session(code) == [weight_of(min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7))]
