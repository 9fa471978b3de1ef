"""Trials in this process: simulated bench, detector, gate and driver in one loop. The same data path as over ROS."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from meld_core.agent import Agent
from meld_core.config import Config
from meld_core.driver import Driver
from meld_core.rewards import make_detector
from meld_core.robot import MotionGate
from meld_core.schedule import TrialPlan
from meld_core.sim.robot import SimRobot
from meld_core.storage.memory_sink import MemorySink
from meld_core.tasks import Task
from meld_core.types import Observation, RobotState, Trial
from meld_core.weights import Weights

SENDER = "rollout"


class Bench:
    """A simulated robot behind its gate, with cameras and reward detector: action in, observation out."""

    def __init__(self, config: Config) -> None:
        self._robot = SimRobot(config)
        self._detector = make_detector(config.reward)
        self._gate = MotionGate(self._robot, config.gate, config.robot)
        self._state: RobotState | None = None

    def __enter__(self) -> Bench:
        self._robot.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._robot.close()

    def set_task(self, task: Task) -> None:
        """Prepare the bench for a task."""
        self._robot.set_task(task)
        self._detector.set_task(task)

    def reset(self) -> tuple[Observation, dict[str, float]]:
        """Arm to its start pose. Returns the first observation of an episode and the recorded extras."""
        self._gate.reset()
        self._detector.reset()
        return self._observe()

    def step(self, action: np.ndarray) -> tuple[Observation, np.ndarray, dict[str, float]]:
        """One control period.

        Returns:
            The next observation, the executed action, and the recorded extras.

        Raises:
            RuntimeError: where the gate refuses the action; nobody is there to clear it.
        """
        assert self._state is not None, "reset before step"
        verdict = self._gate.command(action, self._state.stamp, SENDER, self._state)
        if not verdict.accepted:
            raise RuntimeError(f"the gate refused an action: {verdict.reason}")
        self._robot.wait()
        observation, extras = self._observe()
        return observation, verdict.executed, extras

    def picture(self, camera: str, size: int) -> np.ndarray:
        """One (size, size, 3) uint8 picture for people: see `SimRobot.picture`."""
        return self._robot.picture(camera, size)

    def _observe(self) -> tuple[Observation, dict[str, float]]:
        self._state = state = self._robot.observe()
        frames = self._robot.views()
        reward = self._detector(frames, state)
        return Observation(frames["policy"].pixels, state, reward, state.stamp), self._robot.truth()


def run_trial(bench: Bench, driver: Driver, plan: TrialPlan, before_episode: Callable[[], None] = lambda: None) -> None:
    """One trial: K episodes of one task. The driver records it.

    Args:
        bench: What acts.
        driver: Decides and records.
        plan: The trial.
        before_episode: Called before each reset; it may wait, or raise to break the trial off.
    """
    bench.set_task(plan.task)
    driver.begin_trial(plan)
    while not driver.trial_over:
        before_episode()
        observation, extras = bench.reset()
        action = driver.tick(observation, None, extras)
        while action is not None:
            observation, executed, extras = bench.step(action)
            action = driver.tick(observation, executed, extras)


def collect(
    config: Config,
    weights: Weights | None,
    plans: Iterable[TrialPlan],
    clear_belief: bool = False,
    on_trial: Callable[[Trial], None] | None = None,
) -> Iterator[Trial]:
    """Run trials with fixed weights (None: the untrained agent) and yield them; nothing is written."""
    agent = Agent(config)
    if weights is not None:
        agent.load(weights)
    driver = Driver(config, agent, MemorySink(), run="evaluation", boot="0" * 32)
    driver.clear_belief = clear_belief
    with Bench(config) as bench:
        for plan in plans:
            run_trial(bench, driver, plan)
            assert driver.last_trial is not None
            if on_trial is not None:
                on_trial(driver.last_trial)
            yield driver.last_trial
