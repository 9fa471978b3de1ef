"""Large messages between two processes: 80 MB of weights, latched and in pieces, and a trial of 5 MB."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from meld_core.storage.chunks import split_message
from meld_ros import conversions as msgs
from meld_ros.qos import weights_qos

from .conftest import Ros

ECHO = Path(__file__).with_name("bulk_echo.py")


def test_80_mb_of_weights_reach_a_late_joiner_and_a_5_mb_trial_crosses(ros: Ros) -> None:
    rng = np.random.default_rng(0)
    weights, trial = rng.bytes(80_000_000), rng.bytes(5_000_000)
    pieces = split_message(weights)
    assert (len(pieces), len(split_message(trial))) == (80, 1)
    probe = ros.probe()
    answers: list[dict[str, object]] = []
    msgs.subscription(probe, msgs.TRIALS_ACK, lambda msg: answers.append(msgs.json_from_msg(msg)))
    latched = msgs.publisher(probe, msgs.WEIGHTS, weights_qos(len(pieces)))
    for piece in pieces:
        latched.publish(msgs.bytes_to_msg(piece))
    ros.start(str(ECHO))
    ros.until(lambda: answers, "the weights")
    assert answers == [{"bytes": 80_000_000, "sha256": hashlib.sha256(weights).hexdigest()}]
    sender = msgs.publisher(probe, msgs.TRIALS)
    ros.until(sender.get_subscription_count, "the match")
    sender.publish(msgs.bytes_to_msg(trial))
    ros.until(lambda: len(answers) == 2, "the trial")
    assert answers[1] == {"bytes": 5_000_000, "sha256": hashlib.sha256(trial).hexdigest()}
