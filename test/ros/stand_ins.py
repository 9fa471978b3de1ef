"""Stand-ins over real DDS: a trainer that only acknowledges, a policy that a test moves by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import String

from meld_core.announce import Announcement, EpisodeKey, GateReport
from meld_core.config import Config, flatten, to_mapping
from meld_core.schedule import Schedule
from meld_core.storage.chunks import Assembler
from meld_core.storage.trial_file import decode_trial
from meld_core.types import Trial
from meld_ros import conversions as msgs
from meld_ros.qos import action_qos
from meld_ros.trial_sender import Ack

from .conftest import Ros


def parameters(config: Config, *sections: str) -> dict[str, Any]:
    """Flat parameters of some sections, all where none is named."""
    mapping = to_mapping(config)
    return flatten({section: mapping[section] for section in sections or mapping})


class Listener:
    """Hears gate states and diagnostics."""

    def __init__(self, ros: Ros) -> None:
        self.ros, self.node = ros, ros.probe()
        self.reports: list[GateReport] = []
        self.said: list[str] = []
        msgs.subscription(self.node, msgs.GATE_STATE, self._on_gate)
        msgs.subscription(self.node, msgs.DIAGNOSTICS, self._on_diagnostics)

    def _on_gate(self, msg: String) -> None:
        self.reports.append(GateReport.from_json(msg.data))

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.said += [f"{status.hardware_id}: {status.message}" for status in msg.status]

    def hears(self, *words: str) -> float:
        """Wait for a status that holds all of these words."""
        return self.ros.until(lambda: any(all(word in said for word in words) for said in self.said), f"{words}")

    def sees(self, state: str) -> float:
        """Wait until the newest gate state is this one. Returns the seconds that it took."""
        return self.ros.until(lambda: self.reports and self.reports[-1].state.value == state, state)


class StandInTrainer:
    """Acknowledges every trial, and says again and again where it stands, as a trainer does; trains on none."""

    def __init__(self, ros: Ros, trials: int) -> None:
        self.trials: dict[str, Trial] = {}
        self._assembler, self._wanted = Assembler(), trials
        node = ros.probe()
        self._ack = msgs.publisher(node, msgs.TRIALS_ACK)
        msgs.subscription(node, msgs.TRIALS, self._on_trial)
        node.create_timer(0.5, lambda: self._say(""))

    def _on_trial(self, msg: Any) -> None:
        data = self._assembler.add(msgs.bytes_from_msg(msg))
        if data is not None:
            trial = decode_trial(data)
            self.trials[str(trial.meta.id)] = trial
            self._say(str(trial.meta.id))

    def _say(self, trial: str) -> None:
        whole = {t.meta.id.counter for t in self.trials.values() if not t.meta.aborted}
        ack = Ack(trial, True, "", len(whole), len(whole) >= self._wanted)
        self._ack.publish(String(data=ack.to_json()))


class HandPolicy(Listener):
    """Announces, resets and commands as the test says."""

    def __init__(self, ros: Ros, config: Config, boot: str = "hand") -> None:
        super().__init__(ros)
        self.config, self.boot = config, boot
        self.executed: list[tuple[int, np.ndarray]] = []
        self.stamps: list[int] = []
        self.scale = msgs.ActionScale(config.robot.step_size, config.robot.control_period)
        self._task = msgs.publisher(self.node, msgs.TASK)
        self.action = msgs.publisher(self.node, msgs.ACTION, action_qos(config.gate.policy_lease))
        self._reset = self.node.create_client(msgs.SERVICE, msgs.RESET)
        msgs.subscription(self.node, msgs.EXECUTED_ACTION, self._on_executed)
        msgs.subscription(self.node, msgs.JOINT_STATES, lambda msg: self.stamps.append(msgs.stamp_of(msg.header)))

    def _on_executed(self, msg: Any) -> None:
        self.executed.append((msgs.stamp_of(msg.header), self.scale.from_msg(msg)))

    def begin(self, trial: int = 0) -> int:
        """Announce and reset. Returns the stamp of the first step."""
        key = EpisodeKey("run", self.boot, trial, 0)
        self.ros.until(self._reset.service_is_ready, "the reset service")
        self.ros.until(self.action.get_subscription_count, "the robot")
        self._task.publish(String(data=Announcement(key, Schedule(self.config).plan(trial).task).to_json()))
        self.ros.until(lambda: self.reports and self.reports[-1].key == key, "the echo")
        answer = self._reset.call_async(msgs.SERVICE.Request())
        self.ros.until(lambda: self.reports[-1].reset_stamp > 0 and answer.done(), "the reset")
        assert answer.result().success
        self.ros.until(lambda: self.reports[-1].reset_stamp in self.stamps, "the first step")
        return self.reports[-1].reset_stamp

    def command(self, action: list[float], stamp: int) -> None:
        """Send one action."""
        self.action.publish(self.scale.to_msg(np.array(action, np.float32), stamp))

    def newest(self) -> int:
        """Stamp of the newest step."""
        return max(self.stamps)
