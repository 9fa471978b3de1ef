"""policy_node: collects trials with the newest weights that the schedule allows."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from meld_core.agent import Agent, ReadyWeights
from meld_core.announce import Announcement, GateReport
from meld_core.collector import Collector
from meld_core.config import Config, ConfigError, Section, setting
from meld_core.link import Phase
from meld_core.link_state import LinkState
from meld_core.metrics import MetricsWriter
from meld_core.schedule import Schedule, TrialPlan, held_out_plans
from meld_core.step_times import StepTimes
from meld_core.storage.disk_room import DiskRoom
from meld_core.storage.run_folder import RunFolder
from meld_core.storage.spool import Spool
from meld_core.storage.trial_file import largest_trial
from meld_core.trust.weights_gate import WeightsGate
from meld_core.types import Trial
from meld_core.weights import Weights, latest_weights, load_weights
from meld_ros import conversions as ros
from meld_ros.belief_view import BeliefView
from meld_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from meld_ros.node_main import read_config, read_own, refuse_unknown, run_node, spin_fast
from meld_ros.qos import SENSOR_QOS, action_qos
from meld_ros.trial_sender import TrialSender
from meld_ros.weights_receiver import WeightsReceiver

_POLL = 0.1
"""How often unanswered messages are looked after [s]."""
_TIMES_EVERY = 5
"""Times of steps are told after every so many trials, and after the last one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PolicyParameters(Section):
    """Parameters besides the config's."""

    run_folder: str = setting("", "Folder of the run: its spool in training, `evaluation` in evaluation.")
    mode: str = setting("train", "Collect by the schedule, or run held-out trials.", choices=("train", "eval"))
    weights: str = setting("", "eval: file of weights; empty: the newest of the run.")


class PolicyNode(Node):
    """Run trials: announce, reset, join the messages of each step, act, record, hand over.

    Subscribes: `gate_state`, the step's `joint_states`, `tool_pose`, `image`, `reward`, `executed_action` and one
    topic that is only recorded; in training `weights` and `trials/ack`.
    Publishes: `task`, `action`, `trial_events`; in training `trials`; where somebody looks, `belief/image` and
    `belief/markers`. Calls `reset`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("policy", **kwargs)
        self._config = config = read_config(self, [field.name for field in dataclasses.fields(Config)])
        own = read_own(self, PolicyParameters)
        refuse_unknown(self)
        if not own.run_folder:
            raise ConfigError("policy_node needs the parameter run_folder")
        self.finished = False
        self._training = own.mode == "train"
        self._folder = RunFolder(Path(own.run_folder))
        self._scale = ros.ActionScale(config.robot.step_size, config.robot.control_period)
        self._image_size = (len(config.sim.views) * config.sim.image_size, config.sim.image_size)
        self._agent = Agent(config, compiled=True)
        self._diagnostics = Diagnostics(self)
        self._times = StepTimes.of(config, bool(self.get_parameter("use_sim_time").value))
        self._last_trial = (Schedule(config).trials if self._training else config.eval.trials) - 1
        where = self._folder.spool if self._training else self._folder.evaluation
        self._room = DiskRoom(where, config.storage)
        self._spool = Spool(where, self._room)
        for sentence in self._spool.recover():
            self.get_logger().warning(sentence)
        largest = largest_trial(config)
        self._sender = TrialSender(self, self._spool, self._diagnostics, largest) if self._training else None
        self._gate = WeightsGate(config, self._folder.name, compiled=True)
        self._weights: WeightsReceiver | None = None
        self._early_weights: list[ReadyWeights] = []
        self._collector: Collector | None = None
        self._told = 0
        self._next_trial, self._trained = -1, False
        self._trainer_link = LinkState("trainer")
        self._publish_topics()
        self._subscribe()
        self.create_timer(_POLL, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if not self._training:
            self._agent.load(self._weights_to_evaluate(own.weights))
            plans = held_out_plans(config, config.eval.trials, config.eval.task_seed)
            self._start(lambda index: plans[index] if index < len(plans) else None, 0)

    def _weights_to_evaluate(self, path: str) -> Weights:
        weights = load_weights(Path(path)) if path else latest_weights(self._folder.weights)
        if weights is None:
            raise ConfigError(f"there are no weights in {self._folder.weights}; name a file by the parameter weights")
        return weights

    def _publish_topics(self) -> None:
        gate = self._config.gate
        self._task = ros.publisher(self, ros.TASK)
        self._action = ros.publisher(self, ros.ACTION, action_qos(gate.policy_lease))
        self._events = ros.publisher(self, ros.TRIAL_EVENTS)
        self._belief = BeliefView(self, self._config, self._agent)
        self._reset: Any = self.create_client(ros.SERVICE, ros.RESET)

    def _subscribe(self) -> None:
        ros.subscription(self, ros.GATE_STATE, self._on_gate)
        realtime = self._config.robot.mode == "realtime"
        qos = SENSOR_QOS if realtime else None
        ros.subscription(self, ros.JOINT_STATES, self._part(ros.JOINT_STATES.name, ros.joints_from_msg), qos)
        ros.subscription(self, ros.TOOL_POSE, self._part(ros.TOOL_POSE.name, ros.pose_from_msg), qos)
        ros.subscription(self, ros.IMAGE, self._part(ros.IMAGE.name, self._pixels), qos)
        ros.subscription(self, ros.REWARD, self._part(ros.REWARD.name, ros.reward_from_msg))
        ros.subscription(self, ros.RECORDED, self._part(ros.RECORDED.name, ros.scalars_from_msg), qos)
        ros.subscription(self, ros.EXECUTED_ACTION, ros.timed(self._on_executed))
        if self._training:
            self._weights = WeightsReceiver(self, self._gate, self._diagnostics, self._on_weights)
            ros.subscription(self, ros.TRIALS_ACK, self._on_ack, events=ros.on_alive(self._trainer_link.heard))

    def _start(self, plans: Callable[[int], TrialPlan | None], first: int) -> None:
        self._collector = Collector(
            self._config,
            self._agent,
            self._spool,
            self,
            plans,
            run=self._folder.name,
            first=first,
            on_trial=self._on_trial,
            room=self._room.shortage,
        )
        for weights in self._early_weights:
            self._collector.on_weights(weights)
        self._collector.start()

    def announce(self, announcement: Announcement) -> None:
        """Link: say which episode comes next."""
        self._times.begin()
        self._belief.begin(announcement.key.episode)
        self._task.publish(String(data=announcement.to_json()))

    def request_reset(self) -> None:
        """Link: ask for its reset; where the service is not there yet, the collector asks again."""
        if self._reset.service_is_ready():
            self._reset.call_async(ros.SERVICE.Request())

    def command(self, action: np.ndarray, stamp: int) -> None:
        """Link: send one action."""
        self._action.publish(self._scale.to_msg(action, stamp))
        self._times.commanded(stamp)
        self._diagnostics.beat("action")
        self._belief.show(stamp)

    def _on_gate(self, msg: String) -> None:
        try:
            report = GateReport.from_json(msg.data)
        except ValueError as error:
            self._diagnostics.refuse("gate_state", str(error))
            return
        if self._collector is not None:
            self._collector.on_report(report)

    def _part(self, name: str, decode: Callable[[Any], Any]) -> Callable[..., None]:
        def on_message(msg: Image | JointState, published: int) -> None:
            try:
                value = decode(msg)
            except ValueError as error:
                self._diagnostics.refuse(name, f"{name}: {error}")
                return
            if self._collector is not None:
                stamp = ros.stamp_of(msg.header)
                self._times.part(name, stamp, published)
                self._collector.on_part(name, stamp, value)

        return ros.timed(on_message)

    def _pixels(self, msg: Image) -> np.ndarray:
        self._diagnostics.stamp = ros.stamp_of(msg.header)
        return ros.image_from_msg(msg, self._image_size).pixels

    def _on_executed(self, msg: TwistStamped, published: int) -> None:
        try:
            action = self._scale.from_msg(msg)
        except ValueError as error:
            self._diagnostics.refuse("executed_action", str(error))
            return
        if self._collector is not None:
            self._times.executed(ros.stamp_of(msg.header), published)
            self._collector.on_executed(ros.stamp_of(msg.header), action)

    def _on_weights(self, weights: ReadyWeights) -> None:
        if self._collector is None:
            self._early_weights.append(weights)
        else:
            self._collector.on_weights(weights)

    def _on_ack(self, msg: String) -> None:
        assert self._sender is not None
        ack = self._sender.on_ack(msg)
        if ack is None:
            return
        self._next_trial, self._trained = max(self._next_trial, ack.next_trial), ack.finished
        if self._collector is None:
            self._start_where_the_trainer_is()
        self.finished = self._trained and self._collected()

    def _start_where_the_trainer_is(self) -> None:
        """Begin with the first acknowledgement: they are not latched, so it says what the trainer has now."""
        assert self._sender is not None
        schedule = Schedule(self._config)
        first = max(self._next_trial, self._sender.first_unsent())
        self._start(lambda index: schedule.plan(index) if index < schedule.trials else None, first)

    def _collected(self) -> bool:
        return self._collector is not None and self._collector.phase is Phase.FINISHED

    def _on_trial(self, trial: Trial) -> None:
        meta = trial.meta
        self._tell(event="closed", trial=str(meta.id), rows=len(trial), aborted=meta.aborted)
        if self._sender is not None:
            self._sender.send(str(meta.id))
        self._diagnostics.beat("trial")
        if (meta.id.counter + 1) % _TIMES_EVERY == 0 or meta.id.counter == self._last_trial:
            self._tell_times({"trial": meta.id.counter, **self._times.row()})

    def _tell_times(self, row: dict[str, Any]) -> None:
        """The trainer keeps them with the run's metrics; an evaluation keeps its own."""
        self._tell(event="latency", **row)
        if not self._training:
            with MetricsWriter(self._folder.evaluation, tensorboard=False) as metrics:
                metrics.write("latency", **row)

    def _tell(self, **event: Any) -> None:
        self._events.publish(ros.json_to_msg(event))

    def _on_timer(self) -> None:
        if self._sender is not None:
            self._sender.poll(time.monotonic())
        collector = self._collector
        if collector is None:
            self._diagnostics.state(WARN, "waiting for the trainer")
            return
        collector.poll()
        while self._told < len(collector.aborted):
            reason, self._told = collector.aborted[self._told], self._told + 1
            self._diagnostics.refuse("trial", f"trial {collector.index} begins again: {reason}")
            self._tell(event="aborted", index=collector.index, reason=reason)
        self._diagnostics.values = self._values(collector)
        if collector.paused:
            self._diagnostics.state(ERROR, collector.paused)
        elif lost := self._trainer_link.complaint:
            self._diagnostics.state(WARN, f"{collector.phase.value}; {lost}: trials wait in the spool")
        else:
            self._diagnostics.state(OK, collector.phase.value)
        if not self._training and collector.phase is Phase.FINISHED:
            self.finished = True

    def _values(self, collector: Collector) -> dict[str, Any]:
        version = self._agent.weights_version
        acts, seconds = version >= 0, self._gate.seconds_since(version)
        return {
            "trial": collector.index,
            "weights version": version,
            "policy age [trials]": collector.index - 1 - collector.acts_through if acts else "",
            "policy age [s]": "" if seconds is None else f"{seconds:.1f}",
            "steps": collector.steps,
            "aborted trials": len(collector.aborted),
            "dropped steps": collector.dropped,
            "steps without a reward": collector.unjudged,
            "last abort": collector.aborted[-1] if collector.aborted else "",
            **self._times.values(),
        } | ({"trainer": self._trainer_link, "trials that wait": self._sender.waiting} if self._sender else {})

    def close(self) -> None:
        """Closed episodes are on disk already; the open one is dropped."""
        if self._weights is not None:
            self._weights.close()


def main(args: Sequence[str] | None = None) -> None:
    """Console script."""
    run_node(PolicyNode, args, serve=spin_fast)


if __name__ == "__main__":
    main()
