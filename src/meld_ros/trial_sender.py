"""Brings trials from the spool to the trainer: sent when closed, on match and again and again until acknowledged.

A few at a time: however long a link was down, and however slow it is, it never carries more than it must.
"""

from __future__ import annotations

import dataclasses
import json

from rclpy.node import Node
from std_msgs.msg import String

from meld_core.storage.chunks import count_pieces, split_message
from meld_core.storage.spool import Spool
from meld_core.storage.trial_file import TrialError, decode_trial
from meld_ros.conversions import TRIALS, bytes_to_msg, json_from_msg, publisher
from meld_ros.diagnostics import Diagnostics
from meld_ros.qos import trials_qos

_RESEND = 5.0
"""Unacknowledged trials are sent again after this, then after twice as long, up to the longest wait [s]."""
_LONGEST = 40.0
_WINDOW = 8
"""Most trials under way at a time."""


@dataclasses.dataclass(frozen=True)
class Ack:
    """What the trainer says on `trials/ack`: about one trial, or (with an empty id, every second) about itself."""

    trial: str
    stored: bool
    reason: str
    next_trial: int
    """Index of the first trial that it lacks."""
    finished: bool
    """Whether it has trained on all trials of the schedule."""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @staticmethod
    def from_msg(msg: String) -> Ack:
        """Inverse of `to_json`. Raises ValueError in one sentence."""
        raw = json_from_msg(msg)
        wrong = [name for name, kind in _ACK.items() if type(raw.get(name)) is not kind]
        if wrong:  # a trial is forgotten on such a word
            raise ValueError(f"this is no acknowledgement ({', '.join(wrong)}): {msg.data[:80]!a}")
        return Ack(**{name: raw[name] for name in _ACK})


_ACK = {"trial": str, "stored": bool, "reason": str, "next_trial": int, "finished": bool}


class TrialSender:
    """The actor's end of `trials` and `trials/ack`.

    Args:
        node: Whose topics these are.
        spool: Where trials wait.
        diagnostics: Gets what was refused.
        largest: Size of the largest trial that there will be [bytes].
    """

    def __init__(self, node: Node, spool: Spool, diagnostics: Diagnostics, largest: int = 0) -> None:
        self._spool, self._diagnostics = spool, diagnostics
        self._publisher = publisher(node, TRIALS, trials_qos(_WINDOW * count_pieces(largest)))
        self._receivers = 0
        self._resend_at, self._patience = 0.0, _RESEND
        self._under_way: set[str] = set()

    @property
    def waiting(self) -> int:
        """Trials that are not acknowledged."""
        return len(self._spool.pending())

    def first_unsent(self) -> int:
        """Index after the last whole trial that waits in the spool; 0 without any."""
        metas = [decode_trial(self._spool.read(trial)).meta for trial in self._spool.pending()]
        return 1 + max((meta.id.counter for meta in metas if not meta.aborted), default=-1)

    def send(self, trial: str) -> None:
        """Send one pending trial, unless enough are under way; then it is sent when its turn comes."""
        if len(self._under_way) >= _WINDOW and trial not in self._under_way:
            return
        self._under_way.add(trial)
        for piece in split_message(self._spool.read(trial)):
            self._publisher.publish(bytes_to_msg(piece))
        self._diagnostics.beat("trial sent")

    def poll(self, now: float) -> None:
        """Send the oldest pending trials when a receiver appeared, when the last ones arrived, or when it took long."""
        receivers = self._publisher.get_subscription_count()
        appeared, self._receivers = receivers > self._receivers, receivers
        if appeared:
            self._patience = _RESEND
        if not receivers or (self._under_way and now < self._resend_at and not appeared):
            return
        if self._under_way and not appeared:
            self._patience = min(2.0 * self._patience, _LONGEST)
        self._resend_at = now + self._patience
        self._under_way.clear()
        for trial in self._spool.pending()[:_WINDOW]:
            self.send(trial)

    def on_ack(self, msg: String) -> Ack | None:
        """Forget what the trainer has on disk; set aside what it refused. None where the message is damaged."""
        try:
            ack = Ack.from_msg(msg)
            if ack.trial and ack.stored:
                self._spool.acknowledge(ack.trial)
            elif ack.trial and self._spool.refuse(ack.trial, ack.reason):
                self._diagnostics.refuse("trial", f"the trainer refused trial {ack.trial}: {ack.reason}")
        except (ValueError, TrialError) as error:
            self._diagnostics.refuse("ack", str(error))
            return None
        if ack.trial in self._under_way:
            self._under_way.remove(ack.trial)
            self._patience = _RESEND
        return ack
