"""Trials on their way over DDS: sent until acknowledged, set aside when refused, never learned from when held out."""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

import pytest
from std_msgs.msg import String
from trial_builder import trial_of

from meld_core.config import Config
from meld_core.replay import Replay
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.spool import Spool
from meld_core.storage.trial_file import encode_trial
from meld_core.types import Trial
from meld_ros import conversions as msgs
from meld_ros.diagnostics import Diagnostics
from meld_ros.trial_sender import Ack, TrialSender

from .conftest import DEADLINE, Ros
from .stand_ins import Listener


def spooled(ros: Ros, *trials: Trial) -> Spool:
    """A spool in which these trials wait."""
    spool = Spool(ros.folder / "spool")
    for trial in trials:
        (spool.folder / "pending" / f"{trial.meta.id}.safetensors").write_bytes(encode_trial(trial))
    return spool


def ack(trial: Trial, stored: bool, reason: str = "") -> String:
    return String(data=Ack(str(trial.meta.id), stored, reason, 0, False).to_json())


def test_pending_trials_are_sent_on_match_and_again_until_acknowledged(ros: Ros) -> None:
    first, second = trial_of(7), trial_of(8)
    spool = spooled(ros, first, second)
    node = ros.probe()
    sender = TrialSender(node, spool, Diagnostics(node))
    assert sender.first_unsent() == 9
    sender.poll(0.0)  # nobody listens yet
    received: list[bytes] = []
    msgs.subscription(ros.probe(), msgs.TRIALS, lambda msg: received.append(msgs.bytes_from_msg(msg)))
    ros.until(lambda: sender.poll(0.0) or len(received) == 2, "both trials")
    assert received == [encode_trial(first), encode_trial(second)]
    sender.on_ack(ack(first, stored=True))
    sender.poll(4.9)
    sender.poll(5.1)
    ros.until(lambda: len(received) == 3, "the second again")
    assert received[2] == encode_trial(second)
    assert spool.pending() == [str(second.meta.id)]


def test_a_refused_trial_is_set_aside_with_the_reason(ros: Ros) -> None:
    trial = trial_of(7)
    spool = spooled(ros, trial)
    node = ros.probe()
    TrialSender(node, spool, Diagnostics(node)).on_ack(ack(trial, stored=False, reason="it is of tomorrow"))
    assert spool.pending() == []
    kept = list((spool.folder / "quarantine").iterdir())
    assert any("it is of tomorrow" in path.read_text() for path in kept if path.suffix != ".safetensors")


@pytest.mark.parametrize("data", ["{}", "no json", '{"trial": "../x", "stored": true}', "[]"])
def test_a_damaged_acknowledgement_changes_nothing(ros: Ros, data: str) -> None:
    trial = trial_of(7)
    spool = spooled(ros, trial)
    node = ros.probe()
    assert TrialSender(node, spool, Diagnostics(node)).on_ack(String(data=data)) is None
    assert spool.pending() == [str(trial.meta.id)]


def test_trainer_stores_each_trial_once_and_refuses_held_out_and_damaged_ones(
    ros: Ros, small: Config, run: RunFolder
) -> None:
    listener = Listener(ros)
    acks: list[Ack] = []
    sender = msgs.publisher(listener.node, msgs.TRIALS)
    msgs.subscription(listener.node, msgs.TRIALS_ACK, lambda msg: acks.append(Ack.from_msg(msg)))
    ros.start_graph("train", small, run, "trainer")
    ros.until(lambda: acks and sender.get_subscription_count(), "the trainer")
    good, held_out = trial_of(5), trial_of(6, split="held_out")
    data = encode_trial(good)
    damaged = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]
    for content in (damaged, encode_trial(held_out), data, data):
        sender.publish(msgs.bytes_to_msg(content))
    ros.until(lambda: str(good.meta.id) in [answer.trial for answer in acks], "the acknowledgement")
    refused = next(answer for answer in acks if answer.trial == str(held_out.meta.id))
    assert not refused.stored
    assert "only 'train' may be learned from" in refused.reason
    listener.hears("trainer", "refused")
    assert [trial.meta.id for trial in Replay(run.replay).trials] == [good.meta.id]


def test_a_trainer_that_is_told_to_stop_amid_a_round_ends_at_once_and_keeps_no_half_round(
    ros: Ros, small: Config
) -> None:
    endless = dataclasses.replace(small, learner=dataclasses.replace(small.learner, pretrain_model_updates=10**6))
    run = RunFolder(ros.folder / "endless").create(endless)
    listener = Listener(ros)
    nodes = ros.start_graph("train", endless, run, "robot", "reward", "policy", "trainer")
    listener.hears("trainer", "training on trial 1")
    events: list[Any] = []
    msgs.subscription(listener.node, msgs.TRIAL_EVENTS, lambda msg: events.append(msgs.json_from_msg(msg)))
    ros.until(lambda: len(events) == 3, "the latched events")
    assert [(event["event"], event.get("aborted")) for event in events] == [("closed", "")] * 2 + [("latency", None)]
    ros.until(lambda: not list((run.spool / "pending").iterdir()), "acknowledgements amid the round")
    nodes["trainer"].send_signal(signal.SIGINT)
    output, _ = nodes["trainer"].communicate(timeout=DEADLINE)
    assert nodes["trainer"].returncode == 0, output
    assert "Traceback" not in output
    assert list(run.checkpoints.iterdir()) == []
