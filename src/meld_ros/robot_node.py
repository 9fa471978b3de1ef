"""robot_node: hosts one robot behind the MotionGate."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import TwistStamped
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import QoSLivelinessChangedInfo, SubscriptionEventCallbacks
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from meld_core.announce import Announcement, GateReport
from meld_core.host import PersonDuties, Step
from meld_core.hosting import LockstepHost, RealtimeHost
from meld_core.robot import GateState, MotionGate
from meld_ros import conversions as ros
from meld_ros.diagnostics import ERROR, OK, WARN, Diagnostics
from meld_ros.node_main import read_config, refuse_unknown, run_node
from meld_ros.qos import action_qos
from meld_ros.robots import make_robot
from meld_ros.stop_server import StopServer
from meld_ros.teleop_side import TeleopSide

_LEVELS = {GateState.HOLD: WARN, GateState.STOPPED: ERROR}
_OVERDUE_CHECK = 0.05
"""How often lockstep looks whether a command is overdue [s]."""
_WATCH = 0.02
"""How often realtime looks after the arm [s]."""


class RobotNode(Node):
    """One robot, its gate, and in simulation its bench.

    Subscribes: `task`, `action` (whoever sends it holds a liveliness lease).
    Publishes: per step `joint_states`, `tool_pose`, and in simulation `clock`, `image`, `detector_image`, `truth`;
    `executed_action` with the stamp of the step it was executed at; `gate_state`, latched.
    Subscribes and serves a person's commands and requests: see `TeleopSide`.
    Services: `reset` (returns at once, `gate_state` tells the rest); `stop`, `clear_stop` and the topic `stop_button`
    have a thread of their own, whatever the robot is doing (StopServer).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("robot", **kwargs)
        config = read_config(self, ("robot", "driver", "gate", "task", "sim", "reward"))
        refuse_unknown(self)
        self.finished = False
        self._lockstep = config.robot.mode == "lockstep"
        self._scale = ros.ActionScale(config.robot.step_size, config.robot.control_period)
        self._robot = make_robot(config, self)
        try:
            self._robot.connect()
        except Exception:
            self._robot.close(park=False)
            raise
        self._gate = MotionGate(self._robot, config.gate, config.robot)
        person = PersonDuties.of(config)
        self._host: LockstepHost | RealtimeHost = (
            LockstepHost(self._robot, self._gate, config.gate, person=person)
            if self._lockstep
            else RealtimeHost(self._robot, self._gate, person)
        )
        self._diagnostics = Diagnostics(self)
        self._reported: GateReport | None = None
        self._report_lock = threading.Lock()
        self._topics = {t.name: ros.publisher(self, t) for t in _PUBLISHED}
        self._subscribe(config.gate.policy_lease)
        self._reset_guard = self.create_guard_condition(self._run_reset)
        period = _OVERDUE_CHECK if self._lockstep else config.robot.control_period
        self.create_timer(period, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._stop_server = StopServer(self, self._stop, self._clear_stop, config.gate.button_timeout)
        self._closing = threading.Event()
        self._watchdog = threading.Thread(target=self._run_watchdog, name="watchdog", daemon=True)
        self._watchdog.start()
        self._publish_report()

    def _subscribe(self, lease: float) -> None:
        events = SubscriptionEventCallbacks(liveliness=self._on_liveliness)
        ros.subscription(self, ros.TASK, self._on_task)
        ros.subscription(self, ros.ACTION, self._on_action, action_qos(lease), events)
        self.create_service(ros.SERVICE, ros.RESET, self._on_reset)
        TeleopSide(self, self._host, self._on_teleop, self._publish_all)

    def _on_task(self, msg: String) -> None:
        try:
            self._host.announce(Announcement.from_json(msg.data))
        except ValueError as error:
            self._diagnostics.refuse("task", str(error))
        self._publish_report(again=True)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._host.request_reset()
        response.success = not response.message
        if response.success:
            self._reset_guard.trigger()
        else:
            self._diagnostics.refuse("reset", response.message)
        self._publish_report(again=True)
        return response

    def _run_reset(self) -> None:
        try:
            ready = self._host.run_reset()
        except (RuntimeError, ValueError) as error:
            self._gate.hold(f"reset failed: {error}")
            ready = False
        self._publish_all(ready)

    def _publish_all(self, ready: bool) -> None:
        self._publish_report(again=ready)
        if ready:
            self._publish_step()

    def _on_teleop(self, msg: TwistStamped, info: dict[str, Any]) -> None:
        self._on_action(msg, info, GateState.TELEOP)

    def _on_action(self, msg: TwistStamped, info: dict[str, Any], role: GateState = GateState.POLICY) -> None:
        self._diagnostics.beat("action" if role is GateState.POLICY else "teleop action")
        stamp = ros.stamp_of(msg.header)
        try:
            action = self._scale.from_msg(msg)
        except ValueError as error:
            self._diagnostics.refuse("action", str(error))
            return
        verdict = self._host.command(action, stamp, self._sender(info, role), role)
        if verdict is None:
            return
        if not verdict.accepted:
            self._diagnostics.refuse(verdict.kind, verdict.reason)
        self._publish_report()
        if verdict.uses_period and self._lockstep:
            self._publish_step()
        elif verdict.uses_period:
            self._publish("executed_action", self._scale.to_msg(verdict.executed, stamp))

    def _sender(self, info: dict[str, Any], role: GateState) -> str:
        """Who published. Distributions before Kilted do not tell: with several commanders nobody is known ("")."""
        gid = info.get("publisher_gid")
        if gid:
            return bytes(gid["data"]).hex()
        topic = ros.ACTION if role is GateState.POLICY else ros.TELEOP_ACTION
        return role.value if self.count_publishers(topic.name) <= 1 else ""

    def _on_liveliness(self, info: QoSLivelinessChangedInfo) -> None:
        if info.alive_count_change < 0:
            self._host.policy_lost()
        same_one = info.alive_count_change > 0 > info.not_alive_count_change  # a new one was never "not alive"
        if same_one and self._host.policy_back():
            self._publish_report()
            self._publish_step()
        self._publish_report()

    def _run_watchdog(self) -> None:
        while isinstance(self._host, RealtimeHost) and not self._closing.wait(_WATCH):
            self._host.watch()
            self._publish_report()

    def _on_timer(self) -> None:
        ready = self._host.tick()
        self._publish_report()
        if ready:
            self._publish_step()

    def _publish_step(self) -> None:
        step = self._host.step
        assert step is not None
        self._diagnostics.stamp = step.state.stamp
        self._diagnostics.beat("step")
        if step.executed is not None:
            self._publish("executed_action", self._scale.to_msg(step.executed, step.executed_stamp))
        for name, msg in self._step_messages(step).items():
            self._publish(name, msg)

    def _step_messages(self, step: Step) -> dict[str, Any]:
        """What takes others longest comes first. A real bench's pictures come from elsewhere, with the same stamp."""
        state, stamp = step.state, step.state.stamp
        pictures = {
            topic.name: ros.image_to_msg(step.frames[view])
            for view, topic in (("detector", ros.DETECTOR_IMAGE), ("policy", ros.IMAGE))
            if view in step.frames
        }
        simulated = {ros.CLOCK.name: ros.clock_to_msg(stamp), ros.TRUTH.name: ros.scalars_to_msg(step.truth, stamp)}
        joints = ros.joints_to_msg(self._robot.limits.joint_names, state.joints, state.velocities, stamp)
        pose = ros.pose_to_msg(state.tool_position, state.tool_orientation, stamp)
        states = {ros.JOINT_STATES.name: joints, ros.TOOL_POSE.name: pose}
        return {**pictures, **states, **(simulated if step.truth else {})}

    def _publish(self, name: str, msg: Any) -> None:
        self._topics[name].publish(msg)

    def _publish_report(self, again: bool = False) -> None:
        """Tell the gate's state if it changed, or `again` to whoever asked."""
        with self._report_lock:
            report = self._host.report
            if report == self._reported and not again:
                return
            if report.waits_for and (self._reported is None or report.waits_for != self._reported.waits_for):
                self.get_logger().info(f"waiting for {report.waits_for}")
            self._reported = report
            self._publish(ros.GATE_STATE.name, String(data=report.to_json()))
            self._diagnostics.values = {"gate": report.state.value, **self._gate.counters}
            level = _LEVELS.get(report.state, OK)
            waiting = report.state is GateState.HOLD and report.reset_stamp == 0
            self._diagnostics.state(OK if waiting else level, f"{report.state.value} {report.reason}".rstrip())

    def _stop(self, reason: str) -> None:
        self._gate.stop(reason)
        self._publish_report()

    def _clear_stop(self) -> None:
        self._gate.clear_stop()
        self._publish_report()

    def close(self) -> None:
        """Hold, park (a stopped arm stays where it is), let go of the robot. `stop` is served to the last."""
        self._closing.set()
        self._watchdog.join()
        self._gate.hold("robot_node ends")
        self._robot.close(park=self._gate.state is not GateState.STOPPED)
        self._stop_server.close()


_PUBLISHED = (*ros.STEP_TOPICS.values(), ros.CLOCK, ros.EXECUTED_ACTION, ros.GATE_STATE)


def main(args: Sequence[str] | None = None) -> None:
    """Console script."""
    run_node(RobotNode, args)


if __name__ == "__main__":
    main()
