"""A whole trial as one gymnasium episode, so that other people's meta-learners run on it.

K episodes of one hidden task follow each other; the arm is reset between them inside `step`, which takes no control
step. As in RL² (Duan et al. 2016, arXiv:1611.02779) the observation tells the reward of the step before, so that a
memory can find the task. Rewards are what the reward detector sees; the simulator's truth is in `info` alone.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from meld_core.batch import normalised_tool
from meld_core.config import Config, ConfigError, did_you_mean
from meld_core.rollout import Bench
from meld_core.task_families import make_tasks
from meld_core.tasks import Task
from meld_core.trial import RowFlags, TrialClock
from meld_core.types import Observation

_OPTIONS = ("split", "task_seed")
_SEEDS = 2**31
_WIDEST = 10.0
"""No tool position is this far from the middle of the workspace, in halves of its size."""


class TrialObserver:
    """What a meta-learner sees at each step of a trial: `meld/InsertionTrial-v0` and evaluation on the bench share it.

    Rows are those of a trial: T+1 for an episode of T steps. An episode's last row leads to no action, so that what it
    told (reward, and where the tool was) is seen together with the first row of the next episode.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.begin_trial()

    def begin_trial(self) -> None:
        """Forget everything."""
        self._reward, self._valid = 0.0, True
        self._arrival: np.ndarray | None = None
        self._action = np.zeros(3, np.float32)

    def see(self, observation: Observation, flags: RowFlags, executed: np.ndarray | None) -> dict[str, np.ndarray]:
        """The observation of a row.

        Args:
            observation: On arrival.
            flags: Of the row.
            executed: Executed action of the row before, (3,); not looked at in an episode's first row.

        Returns:
            As `InsertionTrialEnvironment` describes it.
        """
        tool = normalised_tool(observation.state.tool_position, self._config)
        if not flags.first_in_episode:
            assert executed is not None, "a row that is not the first of its episode follows an executed action"
            reward = observation.reward
            self._reward, self._valid = (reward.reward, True) if reward.valid else (0.0, False)
            self._action, self._arrival = np.asarray(executed, np.float32), tool
        return {
            "image": observation.image,
            "tool": tool,
            "arrival": tool if self._arrival is None else self._arrival,
            "previous_action": self._action,
            "reward": _one(self._reward),
            "reward_valid": _one(self._valid),
            "first_in_episode": _one(flags.first_in_episode),
            "episode": _one(flags.episode / self._config.task.episodes),
            "remaining": _one(1.0 - flags.step / self._config.task.horizon),
        }


def _one(value: float) -> np.ndarray:
    return np.array([value], np.float32)


class InsertionTrialEnvironment(gymnasium.Env[Any, np.ndarray]):
    """Plug into the live port, K times in a row: the first time by trying, later by remembering.

    Observation:
        image: (H, W, 3) uint8, the policy views stacked vertically.
        tool: (3,) float32, tip of the plug relative to the workspace, about [-1, 1].
        arrival: (3,), where the step before ended: `tool`, but across a reset where the last episode ended.
        previous_action: (3,), executed in the step before, also across a reset; zeros at first.
        reward: (1,), of the step before, also across a reset; 0 where the detector could not judge.
        reward_valid: (1,), 0 where the detector could not judge.
        first_in_episode: (1,), 1 right after a reset of the arm.
        episode: (1,), index of the episode / K.
        remaining: (1,), share of the episode's steps that are left.
    Action: (3,) in [-1, 1], tool displacement along x, y, z of base_link in units of `robot.step_size`.
    Info: of the row on which the step arrived, before any reset: `task`, `success` and `reward_valid` by the detector,
        `episode_index`, `step`, `last_in_episode`, and `truth`, the simulator's (`success`, `port`, `shaped`, `live`),
        for scoring alone.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, config: Config | None = None, split: str = "train", render_mode: str | None = None) -> None:
        config = config or Config()
        self.render_mode = render_mode
        self._split, self._bench = split, Bench(config)
        self._tasks = make_tasks(config.task)
        self._tasks.sample(split, 0)  # an unknown split is an error now, not at the first reset
        self._clock, self._observer = TrialClock(config.task), TrialObserver(config)
        self._task: Task | None = None
        self._over = True
        self.observation_space = _observation_space(config)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin a trial of a new task.

        Args:
            seed: Seed of the sequence of tasks.
            options: `split` and `task_seed` choose the task.

        Raises:
            ConfigError: on an unknown option or split.
        """
        super().reset(seed=seed)
        self._task = self._draw(options or {})
        self._bench.__enter__()
        self._bench.set_task(self._task)
        self._clock.begin_trial()
        self._observer.begin_trial()
        self._over = False
        return self._reset_arm()

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One control period; where it ends an inner episode, the observation is the first one of the next.

        Raises:
            RuntimeError: before `reset`, after the trial's end, or where the gate refuses the action.
        """
        if self._over:
            raise RuntimeError("no trial is under way; call reset() before step()")
        observation, executed, truth = self._bench.step(np.asarray(action, np.float32))
        reward = observation.reward
        flags = self._clock.row(success=reward.valid and reward.success)
        seen, info = self._observer.see(observation, flags, executed), self._info(observation, flags, truth)
        self._over = flags.last_in_trial
        if flags.last_in_episode and not flags.last_in_trial:
            seen, _ = self._reset_arm()
        return seen, reward.reward if reward.valid else 0.0, flags.terminal, flags.truncated, info

    def render(self) -> np.ndarray | None:
        """A (480, 480, 3) uint8 picture of the bench, or None without a render mode."""
        return self._bench.picture("bench", 480) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Free the simulation. Safe to call twice."""
        self._bench.__exit__(None, None, None)
        self._over = True

    def _draw(self, options: dict[str, Any]) -> Task:
        for name in options:
            if name not in _OPTIONS:
                raise ConfigError(f"unknown reset option '{name}'{did_you_mean(name, _OPTIONS)}")
        drawn = int(self.np_random.integers(_SEEDS))
        return self._tasks.sample(options.get("split", self._split), int(options.get("task_seed", drawn)))

    def _reset_arm(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        observation, truth = self._bench.reset()
        flags = self._clock.row(success=False)
        return self._observer.see(observation, flags, None), self._info(observation, flags, truth)

    def _info(self, observation: Observation, flags: RowFlags, truth: dict[str, float]) -> dict[str, Any]:
        assert self._task is not None
        reward = observation.reward
        return {
            "task": self._task.id,
            "success": bool(reward.valid and reward.success),
            "reward_valid": reward.valid,
            "episode_index": flags.episode,  # gymnasium's wrappers keep their statistics under "episode"
            "step": flags.step,
            "last_in_episode": flags.last_in_episode,
            "truth": {**truth, "live": self._task.live_in(flags.episode)},
        }


def _observation_space(config: Config) -> gymnasium.spaces.Dict:
    size = config.sim.image_size
    spaces: dict[str, gymnasium.Space[Any]] = {
        "image": gymnasium.spaces.Box(0, 255, (size * len(config.sim.views), size, 3), np.uint8),
        "tool": gymnasium.spaces.Box(-_WIDEST, _WIDEST, (3,), np.float32),
        "arrival": gymnasium.spaces.Box(-_WIDEST, _WIDEST, (3,), np.float32),
        "previous_action": gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32),
    }
    for name in ("reward", "reward_valid", "first_in_episode", "episode", "remaining"):
        spaces[name] = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    return gymnasium.spaces.Dict(spaces)
