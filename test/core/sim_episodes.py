"""A connected simulated robot, and episodes on it: by a script that knows its port, by random actions, as bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from meld_core.config import Config
from meld_core.scripted_search import ScriptedSearch
from meld_core.sim.robot import SimRobot
from meld_core.task_families import make_tasks
from meld_core.tasks import Task

CONFIG = Config()
TASKS = make_tasks(CONFIG.task)


def connected_robot() -> Iterator[SimRobot]:
    """One connected robot for all tests of a file: building takes longer than an episode."""
    robot = SimRobot(CONFIG)
    robot.connect()
    yield robot
    robot.close()


def plug_into(task: Task, port: int) -> ScriptedSearch:
    """A script that knows which port to go for."""
    return ScriptedSearch(dataclasses.replace(task, ports=(task.ports[port],), live=0), CONFIG)


def episode(robot: SimRobot, task: Task, actions: np.ndarray) -> bytes:
    """States and pictures of one episode as bytes."""
    robot.set_task(task)
    robot.reset()
    seen = []
    for action in actions:
        executed = robot.apply(action)
        robot.wait()
        state, views = robot.observe(), robot.views()
        seen += [executed, state.joints, state.velocities, state.tool_position, state.tool_orientation]
        seen += [frame.pixels for frame in views.values()]
    return b"".join(np.ascontiguousarray(part).tobytes() for part in seen)


def moves(seed: int, steps: int) -> np.ndarray:
    """Random actions, mostly downwards so that the plug meets the box."""
    return (np.random.default_rng(seed).uniform(-1, 1, (steps, 3)) - [0, 0, 0.3]).astype(np.float32)
