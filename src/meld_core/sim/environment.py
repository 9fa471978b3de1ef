"""The simulated task as a gymnasium environment, so that other people's algorithms run on it.

An episode is one attempt at one task. A meta-learner that attempts the same task again calls
`reset(options={"keep_task": True})`. Rewards are what the reward detector sees, not the simulator's truth.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np

from meld_core.config import Config, ConfigError, did_you_mean
from meld_core.rewards import make_detector
from meld_core.robot import MotionGate
from meld_core.sim.robot import SimRobot
from meld_core.task_families import make_tasks
from meld_core.tasks import Task
from meld_core.types import Reward, RobotState

_OPTIONS = ("keep_task", "split", "task_seed")
_SEEDS = 2**31
_WIDEST = 10.0
"""No joint angle [rad], joint speed [rad/s] or coordinate [m] of this arm is larger."""


class InsertionEnvironment(gymnasium.Env[Any, np.ndarray]):
    """Plug into the live port, found by trying: sparse reward, hidden task.

    Observation: `image` (H, W, 3) uint8, the policy views stacked vertically; `proprioception` (19,) float32: joints
    [rad], joint velocities [rad/s], tool position [m], tool orientation (x, y, z, w).
    Action: (3,) in [-1, 1], tool displacement along x, y, z of base_link in units of `robot.step_size`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, config: Config | None = None, split: str = "train", render_mode: str | None = None) -> None:
        config = config or Config()
        self.render_mode = render_mode
        self._config, self._split = config, split
        self._tasks = make_tasks(config.task)
        self._tasks.sample(split, 0)  # an unknown split is an error now, not at the first reset
        self._robot = SimRobot(config)
        self._gate = MotionGate(self._robot, config.gate, dataclasses.replace(config.robot, mode="lockstep"))
        self._detector = make_detector(config.reward)
        self._task: Task | None = None
        self._state: RobotState | None = None
        self._steps = 0
        size, joints = config.sim.image_size, len(self._robot.limits.joint_names)
        shape = (size * len(config.sim.views), size, 3)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "image": gymnasium.spaces.Box(0, 255, shape, np.uint8),
                "proprioception": gymnasium.spaces.Box(-_WIDEST, _WIDEST, (2 * joints + 7,), np.float32),
            }
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: Seed of the sequence of tasks.
            options: `split` and `task_seed` choose a task; `keep_task` attempts the last one again.

        Raises:
            ConfigError: on an unknown option or split.
        """
        super().reset(seed=seed)
        task = self._next_task(options or {})
        self._robot.connect()
        if task is not self._task:
            self._robot.set_task(task)
            self._detector.set_task(task)
            self._task = task
        self._gate.reset()
        self._detector.reset()
        self._steps = 0
        observation, reward = self._observe()
        return observation, self._info(reward)

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One control period.

        Raises:
            RuntimeError: before the first reset.
        """
        if self._state is None:
            raise RuntimeError("the environment was not reset; call reset() before step()")
        self._gate.command(np.asarray(action, np.float32), self._state.stamp, "gymnasium", self._state)
        self._robot.wait()
        self._steps += 1
        observation, reward = self._observe()
        terminated = reward.success and self._config.task.episode_form == "end_on_success"
        truncated = not terminated and self._steps >= self._config.task.horizon
        return observation, reward.reward if reward.valid else 0.0, terminated, truncated, self._info(reward)

    def render(self) -> np.ndarray | None:
        """A (480, 480, 3) uint8 picture of the bench, or None without a render mode."""
        return self._robot.picture("bench", 480) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the simulation. Safe to call twice."""
        self._robot.close()
        self._task = self._state = None

    def _next_task(self, options: dict[str, Any]) -> Task:
        for name in options:
            if name not in _OPTIONS:
                raise ConfigError(f"unknown reset option '{name}'{did_you_mean(name, _OPTIONS)}")
        if options.get("keep_task") and self._task is not None:
            return self._task
        drawn = int(self.np_random.integers(_SEEDS))
        return self._tasks.sample(options.get("split", self._split), int(options.get("task_seed", drawn)))

    def _observe(self) -> tuple[dict[str, np.ndarray], Reward]:
        self._state = state = self._robot.observe()
        frames = self._robot.views()
        parts = (state.joints, state.velocities, state.tool_position, state.tool_orientation)
        observation = {
            "image": frames["policy"].pixels,
            "proprioception": np.concatenate(parts).astype(np.float32),
        }
        return observation, self._detector(frames, state)

    def _info(self, reward: Reward) -> dict[str, Any]:
        assert self._task is not None
        return {"task": self._task.id, "success": reward.success, "reward_valid": reward.valid}
