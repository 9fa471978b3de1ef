"""Training in this process: collect a trial, train on it, in the order of the schedule. The ROS graph does the same."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable

from meld_core.agent import Agent
from meld_core.config import Config
from meld_core.driver import Driver
from meld_core.rollout import Bench, run_trial
from meld_core.schedule import Schedule
from meld_core.storage.disk_room import DiskRoom
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.spool import Spool
from meld_core.trainer import Trainer
from meld_core.weights import Weights

_RETRY = 1.0
"""Between two looks at a full disk [s]."""
Watch = Callable[[int], bool]
"""Told the control steps of the run after every trial and every round of updates; True ends the training for good."""


def train_in_process(
    config: Config, folder: RunFolder, stop: threading.Event | None = None, watch: Watch | None = None
) -> bool:
    """Run the schedule to its end, or until `stop` is set. With `train.fixed_data` nothing is collected.

    Weights swap exactly where the schedule says, so that the trials are those that the ROS graph would give.

    Args:
        config: Of the run.
        folder: Of the run.
        stop: The trial or round of updates that is under way is the last one for now.
        watch: Ends the training before its schedule does; the final weights are those of that moment.

    Returns:
        Whether the run is finished; if not, call again to go on.
    """
    schedule, stop = Schedule(config), stop or threading.Event()
    collecting = contextlib.nullcontext() if config.train.fixed_data else Bench(config)
    with folder.lock(), collecting as bench:
        trainer, agent = Trainer(config, folder), Agent(config)
        room = DiskRoom(folder.spool, config.storage)
        spool, wait = Spool(folder.spool, room), _Wait(room, trainer, stop)
        driver = Driver(config, agent, spool, run=folder.name, boot=uuid.uuid4().hex)
        try:
            spool.recover()
            _hand_over(spool, trainer)
            known = {weights.trained_through_trial: weights for weights in trainer.saved_weights()}
            while not trainer.finished and not stop.is_set():
                if trainer.ready:
                    wait.for_room()
                    weights = trainer.train_next()
                    known |= {weights.trained_through_trial: weights} if weights else {}
                elif bench is not None:
                    plan = schedule.plan(trainer.next_to_collect)
                    if (needed := plan.needs_weights_through) is not None:
                        _load(agent, known[needed])
                        known = {through: weights for through, weights in known.items() if through >= needed}
                    run_trial(bench, driver, plan, wait.for_room)
                    _hand_over(spool, trainer)
                if watch is not None and watch(trainer.steps) and not trainer.finished:
                    trainer.conclude()
        except _StopRequestedError:
            driver.abort("stopped while the disk had no room")
        finally:
            trainer.close()
        return trainer.finished


class _StopRequestedError(Exception):
    """Somebody asked to stop while the run was waiting for room on the disk."""


class _Wait:
    """Pauses while the disk has no room for what comes next."""

    def __init__(self, room: DiskRoom, trainer: Trainer, stop: threading.Event) -> None:
        self._room, self._trainer, self._stop = room, trainer, stop

    def for_room(self) -> None:
        """Return when there is room. Raises _StopRequestedError where nobody wants to wait any more."""
        while sentence := self._room.shortage():
            self._trainer.tell(sentence)
            if self._stop.wait(_RETRY):
                raise _StopRequestedError
        self._trainer.tell("")


def _load(agent: Agent, weights: Weights) -> None:
    if agent.weights_digest != weights.digest:
        agent.load(weights)


def _hand_over(spool: Spool, trainer: Trainer) -> None:
    """Everything in the spool goes to the replay; a trial leaves the spool once the replay has it on disk."""
    for trial in spool.pending():
        trainer.ingest(spool.read(trial))
        spool.acknowledge(trial)
