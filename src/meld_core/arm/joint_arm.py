"""JointArm: the Robot contract over any driver that takes joint paths and tells joint states. It knows nothing of ROS.

What the arm is asked to do always begins at *measured* joints, and always ends by itself: each command is a path to
standstill, so that whatever dies, the driver finishes a bounded motion and holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from meld_core.arm.arm_driver import ArmDriver, ArmError
from meld_core.arm.joint_path import JointPath, PathPlanner, check_reach, clamped_step, one_point, start_position
from meld_core.arm.joint_states import FollowWatch, JointHistory, JointSample, PictureClock
from meld_core.config import Config, ConfigError
from meld_core.kinematics import ArmKinematics, KinematicsError
from meld_core.sim.arm import arm_limits
from meld_core.tasks import Task
from meld_core.types import Frame, RobotState

_HOLD_TIME = 0.1
"""A moving arm is brought to rest where it was measured within this time [s]."""
_ARRIVAL_PATIENCE = 5.0
"""An arm that has not arrived so long after its path's end will not [s]."""
_LOOK = 0.1
"""A waiting arm looks this often whether it was interrupted [s]."""
_AT_REST = 0.1
"""Joints this close to the rest pose need no parking [rad]."""


class JointArm:
    """One WidowX 250s behind a driver. Its steps carry the stamps of the bench's pictures, which others publish.

    Args:
        config: Resolved.
        make_driver: Makes the driver from the history and the clock of pictures that it feeds.
        clock: Steady seconds.
    """

    def __init__(
        self,
        config: Config,
        make_driver: Callable[[JointHistory, PictureClock], ArmDriver],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if config.robot.mode != "realtime":
            raise ConfigError(f"a {config.robot.kind} robot runs in realtime only [setting: robot.mode]")
        self.limits = arm_limits(config)
        self._config, self._clock = config, clock
        limits, driver = self.limits, config.driver
        self._history = JointHistory(
            limits.joint_lower, limits.joint_upper, limits.joint_velocity, stale_after=driver.stale_after, clock=clock
        )
        self._pictures = PictureClock()
        self._driver = make_driver(self._history, self._pictures)
        self._follow = FollowWatch(limits.joint_names, driver.follow_window)
        self._lock = threading.RLock()
        self._task: Task | None = None
        self._resets = 0
        self._held: np.ndarray | None = None
        self._path: tuple[JointPath, np.ndarray, float] | None = None
        self._interruptions = 0
        self._seen = -1
        self._step_state: RobotState | None = None
        self._state = "new"

    def connect(self) -> None:
        """Open the driver and wait for joint states. Nothing moves.

        Raises:
            ConfigError: where the arm cannot reach the whole workspace.
            ArmError: where the driver does not answer.
        """
        self._kinematics = ArmKinematics()
        self._planner = PathPlanner(self.limits, self._kinematics)
        check_reach(self._kinematics, self.limits)
        self._rest = self._driver.connect()
        self._state = "connected"
        timeout = self._config.driver.connect_timeout
        if not self._until(lambda: self._history.trusted is not None, timeout):
            raise ArmError(
                f"no usable joint states came on {self._config.driver.joint_states} within {timeout} s; is the arm's "
                "driver running? [settings: driver.joint_states, driver.connect_timeout]"
            )

    def _until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait for samples until a condition holds; whether it does."""
        deadline = self._clock() + timeout
        while not condition():
            if self._clock() > deadline:
                return False
            self._history.wait(_LOOK)
        return True

    def set_task(self, task: Task) -> None:
        """Take note of the task; its resets are counted from zero."""
        self._task, self._resets = task, 0

    def reset(self) -> None:
        """Lift, go to the start pose, wait for a picture from there.

        Raises:
            ArmError: where the arm does not arrive, is interrupted by `hold`, or no picture comes.
        """
        if self._task is None:
            raise ArmError("the robot has no task; call set_task() first")
        with self._lock:
            interruptions = self._interruptions
            self._history.trust_again()
            sample = self._believed()
            start = start_position(self._config, self.limits, self._task, self._resets)
            path = self._plan(lambda: self._planner.to_start(sample.joints, start, self._config.driver.reset_speed))
            self._begin(path, sample.joints)
        self._resets += 1
        arrived = self._arrive(path, interruptions, "start pose")
        with self._lock:
            if self._interruptions == interruptions:
                self._held = path.goal
        self._await_picture(arrived)

    def begin_here(self, episode: bool) -> None:
        """Hold where the arm is, count the episode, wait for a picture from there. Raises ArmError as `reset`."""
        self._history.trust_again()
        sample = self._believed()
        self._resets += int(episode)
        self.hold()
        self._await_picture(sample)

    def _plan(self, plan: Callable[[], JointPath]) -> JointPath:
        try:
            return plan()
        except KinematicsError as error:
            raise ArmError(f"there is no way from here: {error}") from None

    def _arrive(self, path: JointPath, interruptions: int, where: str) -> JointSample:
        begun, error = self._clock(), np.zeros(len(path.goal))
        while self._clock() < begun + path.duration + _ARRIVAL_PATIENCE:
            self._history.wait(_LOOK)
            if self._interruptions != interruptions:
                raise ArmError(f"the way to the {where} was interrupted")
            sample = self._history.newest()
            error = np.abs(sample.joints - path.goal)
            there = error.max() <= self._config.driver.arrival_error and sample is self._history.trusted
            if there and self._clock() >= begun + path.duration:
                return sample
        self.hold()
        joint = self.limits.joint_names[int(error.argmax())]
        raise ArmError(f"the arm did not arrive at its {where}: joint '{joint}' is {error.max():.3f} rad from it")

    def _await_picture(self, arrived: JointSample) -> None:
        """Until a picture is newer than this sample."""

        def there() -> bool:
            state = self._state_at_picture()
            return state is not None and state.stamp >= arrived.stamp

        if self._until(there, self._config.driver.connect_timeout):
            return
        topic = self._config.driver.image
        raise ArmError(
            f"no picture came on {topic}; is the camera running? [setting: driver.image]"
            if self._pictures.newest < arrived.stamp
            else f"no picture on {topic} has a joint state within driver.state_match = "
            f"{self._config.driver.state_match} s of its stamp; compare the clocks of camera and driver"
        )

    def observe(self) -> RobotState:
        """Newest joints, and the tool's pose by our own model.

        Raises:
            StaleStateError: where joint states are lost.
            ArmError: where a joint does not follow its commands.
        """
        sample = self._history.newest()
        with self._lock:
            reason = self._follows(sample)
            state = self._state_of(sample, sample.stamp)
        if reason:
            raise ArmError(reason)
        return state

    def _follows(self, sample: JointSample) -> str:
        if sample.stamp <= self._seen or self._path is None:
            return ""
        self._seen = sample.stamp
        path, start, begun = self._path
        if sample is not self._history.trusted:
            return ""
        reason = self._follow.look(sample.received, path.at(sample.received - begun, start), sample.joints)
        if reason:
            self._follow.forget()
        return reason

    def _state_of(self, sample: JointSample, stamp: int) -> RobotState:
        if np.isfinite(sample.joints).all():
            position, orientation = self._kinematics.forward(sample.joints)
        else:
            position, orientation = np.full(3, np.nan), np.full(4, np.nan)
        return RobotState(sample.joints, sample.velocities, position, orientation, stamp)

    def apply(self, action: np.ndarray) -> np.ndarray:
        """Aim the tool at its measured position plus `action` steps, inside the workspace, within one control period.

        Args:
            action: (3,) in [-1, 1], tool displacement along base_link's axes; 1 is `robot.step_size`.

        Returns:
            The command after clamping to [-1, 1] and to the workspace, (3,) float32.

        Raises:
            ValueError: on another shape or numbers that are not finite.
            ArmError, StaleStateError: where the measured joints cannot be believed or the goal not be reached.
        """
        command = np.asarray(action, dtype=np.float32)
        if command.shape != (3,) or not np.isfinite(command).all():
            raise ValueError(f"an action is 3 finite numbers, got {command.tolist()}")
        with self._lock:
            sample = self._believed()
            tool = self._kinematics.forward(sample.joints)[0]
            command, target = clamped_step(command, tool, self.limits)
            path = self._plan(lambda: one_point(self._planner.step(target, sample.joints), self.limits.control_period))
            self._begin(path, sample.joints)
        return command

    def _believed(self) -> JointSample:
        """The newest sample, which must be one to believe: motion begins there."""
        sample = self._history.newest()
        if sample is not self._history.trusted:
            raise ArmError(f"the measured joints cannot be believed: {np.round(sample.joints, 2).tolist()} rad")
        return sample

    def _begin(self, path: JointPath, start: np.ndarray) -> None:
        self._held = None
        self._path = (path, start, self._clock())
        self._follow.new_command(start)
        self._driver.send(path)

    def wait(self) -> None:
        """Sleep until the path under way has ended."""
        path = self._path
        if path is not None:
            self._until(lambda: self._clock() >= path[2] + path[0].duration, path[0].duration)

    def hold(self) -> None:
        """Hold actively where the arm was last measured believably; a second call changes nothing about that place."""
        with self._lock:
            self._interruptions += 1
            trusted = self._history.trusted
            if self._state != "connected" or trusted is None:
                return
            place = trusted.joints if self._held is None else self._held
            self._begin(one_point(place, _HOLD_TIME), place)
            self._held = place

    def look(self) -> tuple[RobotState, dict[str, Frame], dict[str, float]]:
        """The joints at the stamp of the newest picture that has some; pictures and truth are not the arm's."""
        state = self._state_at_picture()
        if state is None:
            raise ArmError("no picture and joint state of one stamp came yet")
        return state, {}, {}

    def _state_at_picture(self) -> RobotState | None:
        stamp = self._pictures.newest
        sample = self._history.near(stamp, self._config.driver.state_match)
        if sample is not None and (self._step_state is None or stamp > self._step_state.stamp):
            with self._lock:
                self._step_state = self._state_of(sample, stamp)
        return self._step_state

    def close(self, park: bool = True) -> None:
        """Bring the arm to its rest pose and let go; where that is not safe (or not asked for) it keeps its place."""
        if self._state == "closed":
            return
        try:
            if park and self._state == "connected":
                self.park()
                self._driver.rested()
        except RuntimeError:  # lost, interrupted or stuck: never moved blindly, never dropped
            self.hold()
        self._state = "closed"
        self._driver.close()

    def park(self) -> None:
        """Lift, go to the rest pose, hold there. Raises ArmError as `reset`."""
        with self._lock:
            interruptions = self._interruptions
            sample = self._believed()
            if np.abs(sample.joints - self._rest).max() <= _AT_REST:
                return
            path = self._plan(lambda: self._planner.to_rest(sample.joints, self._rest, self._config.driver.park_speed))
            self._begin(path, sample.joints)
        self._arrive(path, interruptions, "rest pose")
