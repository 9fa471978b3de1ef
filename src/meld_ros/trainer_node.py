"""trainer_node: trains on the trials that arrive, and publishes weights."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import queue
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_msgs.msg import String, UInt8MultiArray

from meld_core.accelerator import AcceleratorLostError
from meld_core.announce import GateReport
from meld_core.config import Config, ConfigError, Section, setting
from meld_core.link_state import LinkState
from meld_core.priority import give_way
from meld_core.step_times import checked_row
from meld_core.storage.chunks import Assembler, ChunkError, split_message
from meld_core.storage.files import StorageError
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.trial_file import TrialError, decode_trial
from meld_core.trainer import Trainer
from meld_core.weights import Weights
from meld_ros import conversions as ros
from meld_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from meld_ros.node_main import STOPPING, Background, read_config, read_own, refuse_unknown, run_node
from meld_ros.qos import weights_qos
from meld_ros.trial_sender import Ack

_WAIT = 0.2
"""Longest wait for a trial before the stop request is looked at again [s]."""

_LOOK = 0.1
"""How often it is looked whether an actor has appeared [s]."""

_SAY_AGAIN = 1.0
"""Actors are told this often where the trainer is [s]."""

_SEND_AGAIN = 5.0
"""While no trial arrives, the newest weights are sent again after this, then after twice as long ... [s]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerParameters(Section):
    """Parameters besides the config's."""

    run_folder: str = setting("", "Folder of the run: replay, weights, checkpoints, metrics.")


class _StopRequestedError(Exception):
    """Breaks off a round of updates; a resumed run does it again."""


class TrainerNode(Node):
    """The learner has the main thread; a background executor enqueues what arrives and says where the learner is.

    Subscribes: `trials`; `gate_state`, to show whom the run waits for; `trial_events`, for the times of steps.
    Publishes: `trials/ack` once a trial is on disk and every second, `weights` after each round of updates.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("trainer", **kwargs)
        config = read_config(self, [field.name for field in dataclasses.fields(Config)])
        own = read_own(self, TrainerParameters)
        refuse_unknown(self)
        if not own.run_folder:
            raise ConfigError("trainer_node needs the parameter run_folder")
        folder = RunFolder(Path(own.run_folder)).create(config, resume=True)
        self.finished = False
        self._resources = contextlib.ExitStack()
        self._resources.enter_context(folder.lock())
        self._config, self._folder, self._on_cpu = config, folder, False
        if config.robot.mode == "realtime":
            give_way()
        self._trainer = Trainer(config, folder)
        self._resources.callback(self._close_trainer)
        self._diagnostics = Diagnostics(self)
        self._assembler = Assembler()
        self._queue: queue.Queue[bytes] = queue.Queue()
        self._queued: set[bytes] = set()
        self._times: queue.Queue[dict[str, float | int]] = queue.Queue()
        self._ack = ros.publisher(self, ros.TRIALS_ACK)
        self._weights: Any = None
        self._version = -1
        self._told, self._last_sent, self._patience = 0, time.monotonic(), _SEND_AGAIN
        self._needed = config.train.lead // config.learner.update_every + 1
        self._waits_for = ""
        self._link = LinkState("actor")
        self._standing: Ack | None = None
        self._listeners, self._say_at = 0, 0.0
        ros.subscription(self, ros.TRIALS, self._on_trial, events=ros.on_alive(self._link.heard))
        ros.subscription(self, ros.GATE_STATE, self._on_gate)
        ros.subscription(self, ros.TRIAL_EVENTS, self._on_event)
        self.create_timer(_LOOK, self._say_where_it_is, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._background = Background(self, "receive")

    def _on_trial(self, msg: UInt8MultiArray) -> None:
        """Enqueue a whole trial, once however often it is sent."""
        try:
            data = self._assembler.add(ros.bytes_from_msg(msg))
        except ChunkError as error:
            self._diagnostics.refuse("piece", str(error))
            return
        key = hashlib.blake2b(data or b"").digest()
        if data is not None and key not in self._queued:
            self._queued.add(key)
            self._queue.put(data)

    def _on_gate(self, msg: String) -> None:
        with contextlib.suppress(ValueError):  # policy_node says so
            self._waits_for = GateReport.from_json(msg.data).waits_for

    def _on_event(self, msg: String) -> None:
        try:
            event = ros.json_from_msg(msg)
            if event.get("event") == "latency":
                self._times.put(checked_row(event))
        except ValueError as error:
            self._diagnostics.refuse("trial_events", str(error))

    def _keep_times(self) -> None:
        """With the run's metrics, which only the main thread writes."""
        while not self._times.empty():
            self._trainer.metrics.write("latency", **self._times.get())

    def _tell_of_person(self) -> None:
        self._trainer.tell(f"waiting for {self._waits_for}" if self._waits_for else "", about="person")

    def work(self) -> None:
        """The main thread: store, acknowledge, train, publish, until told to stop."""
        self._background.start()
        for weights in self._trainer.saved_weights():
            self._publish(weights)
        self._acknowledge("", True, "")
        with contextlib.suppress(_StopRequestedError):
            while not STOPPING.is_set():
                shortage = self._trainer.shortage()
                self._tell_of_person()
                due = self._trainer.ready and not shortage
                self._take_in(0.0 if due else _WAIT)
                self._show_link()
                if due:
                    self._train()
                elif shortage:
                    self._diagnostics.state(ERROR, shortage)
                else:
                    self._wait_for_trials()

    def _train(self) -> None:
        self._diagnostics.state(OK, f"training on trial {self._trainer.next_trial}")
        try:
            weights = self._trainer.train_next(self._between)
        except AcceleratorLostError as error:
            self._go_on_without(error)
            return
        if weights is not None:
            self._publish(weights)
            self._patience = _SEND_AGAIN
        while self._told < len(self._trainer.remarks):
            self._diagnostics.refuse("weights of the learner", self._trainer.remarks[self._told])
            self._told += 1
        if self._trainer.finished:
            self._acknowledge("", True, "")

    def _go_on_without(self, lost: AcceleratorLostError) -> None:
        """Begin again on the CPU from the last checkpoint, as a resumed run does. Nobody else notices."""
        if self._on_cpu or self._config.learner.device == "cpu":
            raise lost
        self._on_cpu = True
        self._trainer.close()
        self._trainer, self._told = Trainer(self._config, self._folder, "cpu"), 0
        self._trainer.remarks.append(f"{lost}; training goes on on the CPU")

    def _wait_for_trials(self) -> None:
        """Whoever waits for weights that were damaged on their way gets them again."""
        state = "finished" if self._trainer.finished else "waiting for trials"
        if self._link.lost and not self._trainer.finished:
            self._diagnostics.state(WARN, f"{state}; {self._link.complaint}")
        else:
            self._diagnostics.state(OK, state)
        if time.monotonic() - self._last_sent > self._patience:
            self._patience *= 2.0
            for weights in self._trainer.saved_weights()[-self._needed :]:
                self._publish(weights)

    def _between(self) -> None:
        """Between two updates: take in what has arrived; stop where asked to."""
        self._take_in(0.0)
        self._show_link()
        self._tell_of_person()
        if STOPPING.is_set():
            raise _StopRequestedError

    def _show_link(self) -> None:
        """On `/diagnostics` and with the progress of the run; a run that is finished needs nobody."""
        self._diagnostics.values = {"weights version": self._version, "actor": self._link}
        self._trainer.tell("" if self._trainer.finished else self._link.complaint, about="link")

    def _take_in(self, timeout: float) -> None:
        """Store everything that waits; for the first trial wait up to `timeout` [s]."""
        self._keep_times()
        with contextlib.suppress(queue.Empty):
            data = self._queue.get(timeout=timeout) if timeout else self._queue.get_nowait()
            while True:
                self._store(data)
                self._queued.discard(hashlib.blake2b(data).digest())
                data = self._queue.get_nowait()

    def _store(self, data: bytes) -> None:
        try:
            name = str(decode_trial(data).meta.id)
        except TrialError as error:
            self._diagnostics.refuse("trial", str(error))
            return
        try:
            self._trainer.ingest(data)
        except TrialError as error:
            self._diagnostics.refuse("trial", str(error))
            self._acknowledge(name, False, str(error))
        except StorageError as error:  # not acknowledged: it will be sent again
            self._diagnostics.state(ERROR, str(error))
        else:
            self._diagnostics.beat("trial")
            self._acknowledge(name, True, "")

    def _acknowledge(self, trial: str, stored: bool, reason: str) -> None:
        ack = Ack(trial, stored, reason, self._trainer.next_to_collect, self._trainer.finished)
        self._standing = Ack("", True, "", ack.next_trial, ack.finished)
        self._ack.publish(String(data=ack.to_json()))

    def _say_where_it_is(self) -> None:
        """In the background thread: whoever joins is told at once, and everybody again and again."""
        if self._standing is None:
            return
        now, listeners = time.monotonic(), self._ack.get_subscription_count()
        appeared, self._listeners = listeners > self._listeners, listeners
        if appeared or now >= self._say_at:
            self._say_at = now + _SAY_AGAIN
            self._ack.publish(String(data=self._standing.to_json()))

    def _publish(self, weights: Weights) -> None:
        pieces = split_message(weights.to_bytes())
        if self._weights is None:
            self._weights = ros.publisher(self, ros.WEIGHTS, weights_qos(len(pieces)))
        self._last_sent = time.monotonic()
        for piece in pieces:
            self._weights.publish(ros.bytes_to_msg(piece))
        self._version = weights.version
        self._diagnostics.beat("weights")

    def _close_trainer(self) -> None:
        self._keep_times()
        self._trainer.close()  # the one of now: it may be another one than at the start

    def close(self) -> None:
        """Stop receiving, keep what was learned."""
        self._background.close()
        self._resources.close()


def main(args: Sequence[str] | None = None) -> None:
    """Console script."""
    run_node(TrainerNode, args, serve=TrainerNode.work)


if __name__ == "__main__":
    main()
