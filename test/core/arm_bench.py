"""JointArm over a driver that follows its paths exactly, in a time of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from meld_core.arm.joint_arm import JointArm
from meld_core.arm.joint_path import JointPath
from meld_core.arm.joint_states import JointHistory, JointSample, PictureClock
from meld_core.config import Config, DriverConfig, RobotConfig
from meld_core.task_families import make_tasks

REST = np.array(DriverConfig().rest_joints)
STEP = 0.01
CONFIG = dataclasses.replace(Config(), robot=RobotConfig(kind="ros2_control", mode="realtime"))


class Bench:
    """An arm that follows its paths exactly, 100 states and 33 pictures a second."""

    def __init__(self, history: JointHistory, pictures: PictureClock) -> None:
        self.history, self.pictures = history, pictures
        self.now, self.joints = 100.0, REST.copy()
        self.sent: list[JointPath] = []
        self.begun, self.start = 0.0, self.joints
        self.dead: list[int] = []
        self.silent = self.blind = self.closed = False
        self.nonsense: float | None = None
        self.rests = 0
        history.wait = self.advance  # type: ignore[method-assign, assignment]

    def connect(self) -> np.ndarray:
        return REST

    def send(self, path: JointPath) -> None:
        self.sent.append(path)
        self.begun, self.start = self.now, self.joints.copy()

    def rested(self) -> None:
        self.rests += 1

    def close(self) -> None:
        self.closed = True

    def advance(self, timeout: float = 0.0) -> bool:
        self.now += STEP
        if self.sent:
            wanted = self.sent[-1].at(self.now - self.begun, self.start)
            alive = [joint for joint in range(6) if joint not in self.dead]
            self.joints[alive] = wanted[alive]
        stamp = round(self.now * 1e9)
        if not self.silent:
            told = self.joints.copy() if self.nonsense is None else np.full(6, self.nonsense)
            self.history.add(JointSample(told, np.zeros(6), stamp, self.now))
        if round(self.now / STEP) % 3 == 0 and not self.blind:
            self.pictures.add(stamp)
        return True


class Robot(JointArm):
    """The arm and its bench."""

    def __init__(self, config: Config = CONFIG) -> None:
        def make(history: JointHistory, pictures: PictureClock) -> Bench:
            self.bench = Bench(history, pictures)
            return self.bench

        super().__init__(config, make, clock=lambda: self.bench.now)
        self.task = make_tasks(config.task).sample("train", 3)

    def ready(self) -> Robot:
        self.connect()
        self.set_task(self.task)
        self.reset()
        return self

    def live(self, seconds: float) -> Any:
        """Let time pass and look at every state, as robot_node does."""
        for _ in range(round(seconds / STEP)):
            self.bench.advance()
            state = self.observe()
        return state
