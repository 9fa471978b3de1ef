"""Tasks whose live port may move between episodes: the law, the bench, hindsight and what is counted, by hand."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from meld_core.agent import Agent
from meld_core.announce import Announcement, EpisodeKey
from meld_core.batch import LearnerTrial, learner_trial, make_batch
from meld_core.config import Config, ConfigError, TaskConfig, load_config, to_mapping
from meld_core.driver import Driver
from meld_core.evaluation.scoring import score_trial, trial_summary
from meld_core.hindsight import corrected, relabel
from meld_core.hosting import LockstepHost
from meld_core.learner import Learner
from meld_core.rewards import make_detector
from meld_core.robot import MotionGate
from meld_core.rollout import Bench, MemorySink, run_trial
from meld_core.schedule import Schedule
from meld_core.sim.robot import SimRobot
from meld_core.task_families import make_tasks
from meld_core.tasks import InsertionTasks, Task, draw_later_live
from meld_core.trial import RowFlags
from meld_core.types import Frame, Observation, Reward, RobotState, Source, Trial
from meld_core.weights import Weights

from .learning import hand_made, tiny_config

SWITCHING = TaskConfig(episodes=4, switch_probability=0.4)
FILE = Path(__file__).parents[2] / "config" / "tasks" / "switching.yaml"
NO, YES = False, True
PINNED = [(0, 0, 0, 1), (2, 2, 0, 0), (1, 1, 1, 1), (0, 1, 2, 1)]


@pytest.fixture(scope="module")
def robot() -> Iterator[SimRobot]:
    simulated = SimRobot(load_config([FILE]))
    simulated.connect()
    yield simulated
    simulated.close()


def test_without_switches_tasks_are_what_they_were() -> None:
    """The same box and first port for each seed, nothing more in the JSON, and no draw from anybody's generator."""
    static, switching = InsertionTasks(TaskConfig(episodes=4)), InsertionTasks(SWITCHING)
    for seed in range(30):
        task = static.sample("train", seed)
        assert dataclasses.replace(switching.sample("train", seed), later_live=()) == task
        assert set(task.to_json()) == {"id", "split", "seed", "box_position", "box_yaw", "ports", "live"}
        assert [task.live_in(episode) for episode in range(4)] == [task.live] * 4
    rng = np.random.default_rng(5)
    assert draw_later_live(1, TaskConfig(episodes=4), rng) == ()
    assert rng.bit_generator.state == np.random.default_rng(5).bit_generator.state
    assert static.split_hash() != switching.split_hash()


def test_the_port_moves_as_often_as_the_setting_says_and_to_every_other_one() -> None:
    tasks = [InsertionTasks(SWITCHING).sample("train", seed) for seed in range(1000)]
    steps = [(t.live_in(e + 1) - t.live_in(e)) % 3 for t in tasks for e in range(3)]
    assert np.bincount(steps) / len(steps) == pytest.approx([0.6, 0.2, 0.2], abs=0.03)


def test_a_probability_of_one_moves_it_always() -> None:
    tasks = InsertionTasks(dataclasses.replace(SWITCHING, switch_probability=1.0))
    for seed in range(50):
        task = tasks.sample("validation", seed)
        assert all(task.live_in(e) != task.live_in(e + 1) for e in range(3))
        assert task.live_in(9) == task.live_in(3)


def test_tasks_are_the_same_on_every_machine() -> None:
    """Pinned: numpy's PCG64 does not depend on the platform."""
    drawn = [InsertionTasks(SWITCHING).sample("held_out", seed) for seed in range(1000, 1004)]
    assert [(task.live, *task.later_live) for task in drawn] == PINNED


def test_one_port_has_nowhere_to_move() -> None:
    with pytest.raises(ConfigError, match=r"task\.switch_probability needs at least 2 ports"):
        make_tasks(TaskConfig(ports=1, switch_probability=0.1))


def test_moves_survive_the_announcement() -> None:
    task = InsertionTasks(SWITCHING).sample("train", 3)
    assert len(task.later_live) == 3
    assert Task.from_json(task.to_json()) == task
    sent = Announcement(EpisodeKey("r", "b", 0, 2), task)
    assert Announcement.from_json(sent.to_json()) == sent


def test_shipped_file() -> None:
    config = load_config([FILE])
    assert (config.task.episodes, config.task.switch_probability) == (4, 0.4)


def moving(lives: tuple[int, ...], seed: int = 1) -> Task:
    """A task with these live ports, one per episode."""
    return dataclasses.replace(InsertionTasks(SWITCHING).sample("train", seed), live=lives[0], later_live=lives[1:])


def plug_into(robot: SimRobot, task: Task, port: int) -> list[bytes]:
    """Reset and drive the plug into a port; the policy's pictures on the way."""
    robot.reset()
    pictures = [robot.views()["policy"].pixels.tobytes()]
    for step in range(14):
        target = np.array(task.ports[port])
        target[2] += 0.004 if step < 6 else -0.014
        robot.apply(((target - robot.observe().tool_position) / 0.02).astype(np.float32))
        robot.wait()
        pictures.append(robot.views()["policy"].pixels.tobytes())
    return pictures


def test_the_bench_moves_the_port_and_only_detector_and_truth_can_tell(robot: SimRobot) -> None:
    """Live per episode: 0 0 0 against 0 2 0. The plug goes into port 0 each time; episode 2 differs in the LED."""
    pictures, lit, truth = [], [], []
    for lives in ((0, 0, 0), (0, 2, 0)):
        task = moving(lives)
        robot.set_task(task)
        for _ in range(3):
            pictures.append(plug_into(robot, task, 0))
            lit.append(make_detector(load_config([FILE]).reward)(robot.views(), robot.observe()).success)
            truth.append(robot.truth())
    assert pictures[:3] == pictures[3:]
    assert lit == [YES, YES, YES, YES, NO, YES]
    assert [t["success"] for t in truth] == [1, 1, 1, 1, 0, 1]
    assert [t["live"] for t in truth] == [0, 0, 0, 0, 2, 0]
    assert [t["port"] for t in truth] == [0.0] * 6
    assert truth[4]["shaped"] < 0.5 < truth[5]["shaped"]


def test_truth_of_a_static_task_has_no_live_port(robot: SimRobot) -> None:
    robot.set_task(dataclasses.replace(moving((1,)), later_live=()))
    robot.reset()
    assert set(robot.truth()) == {"success", "shaped", "port"}


class Looking:
    """A SimRobot that is its own bench, as robot_node hosts it."""

    def __init__(self, robot: SimRobot) -> None:
        self._robot, self.limits = robot, robot.limits

    def __getattr__(self, name: str) -> object:
        return getattr(self._robot, name)

    def look(self) -> tuple[RobotState, dict[str, Frame], dict[str, float]]:
        return self._robot.observe(), self._robot.views(), self._robot.truth()


def test_a_host_that_is_told_the_task_once_moves_the_port_at_each_reset(robot: SimRobot) -> None:
    """The second reset request of episode 3 is a repetition: it must not count as an episode."""
    config, bench = load_config([FILE]), Looking(robot)
    host = LockstepHost(bench, MotionGate(bench, config.gate, config.robot), config.gate)
    seen = []
    for episode, repeats in enumerate((1, 1, 2, 1)):
        host.announce(Announcement(EpisodeKey("r", "b", 0, episode), moving((2, 0, 0, 1))))
        for _ in range(repeats):
            host.request_reset()
            host.run_reset()
        assert host.step is not None
        seen.append(host.step.truth["live"])
    assert seen == [2, 0, 0, 1]


@pytest.fixture(scope="module")
def demonstration() -> tuple[Config, Trial]:
    """One scripted trial on the simulated bench in which the port moves twice."""
    config = load_config([FILE], ["train.script_noise=0.0", "sim.renderer=auto"])
    driver = Driver(config, Agent(config), MemorySink(), run="r", boot="0" * 32)
    plan = dataclasses.replace(Schedule(config).plan(0), task=moving((2, 2, 0, 1)), source=Source.SCRIPT)
    with Bench(config) as bench:
        run_trial(bench, driver, plan)
    assert driver.last_trial is not None
    return config, driver.last_trial


def test_a_demonstration_succeeds_in_every_episode(demonstration: tuple[Config, Trial]) -> None:
    _, trial = demonstration
    scores = score_trial(trial)
    assert [score.success for score in scores] == [YES] * 4
    assert [score.moved for score in scores] == [NO, NO, YES, YES]
    assert [score.ports[-1] for score in scores] == [2, 2, 0, 1]
    assert trial_summary(trial)["moved"] == [NO, NO, YES, YES]


def test_corrections_search_anew_in_every_episode(demonstration: tuple[Config, Trial]) -> None:
    """Without noise and before anything was found the labels are what the demonstrator did; it searched each time."""
    config, trial = demonstration
    seen = learner_trial(trial, config)
    last = np.append(seen.first_in_episode[1:], True)
    assert seen.switching
    np.testing.assert_allclose(seen.search[~last], seen.intended[~last], atol=1e-6)


def switching(rewards: list[list[float]], in_port: list[list[int]]) -> LearnerTrial:
    return dataclasses.replace(hand_made(rewards, in_port=in_port), switching=True)


def test_corrections_doubt_a_port_that_did_not_pay() -> None:
    """Labels: 0.5 while searching, p / 10 on the way to port p. Port 2 pays in episode 1, is dry in episode 2.

    There the way to port 2 is the label until the plug is seated in it, then the search until port 1 pays; episode 3
    goes to port 1. The row that is paid has no action any more.
    """
    ports = [[-1, 2], [-1, 0, 2, -1, 1], [-1, -1]]
    trial = switching([[0, 1], [0, 0, 0, 0, 1], [0, 0]], ports)
    labels = corrected(trial).intended[:, 0].tolist()
    assert labels == pytest.approx([0.5, 0.2, 0.2, 0.2, 0.5, 0.5, 0.1, 0.1, 0.1])


def test_a_port_that_failed_stays_forgotten_and_a_missing_reward_is_no_failure() -> None:
    """Episode 2: row 3 is seated in port 2 but nobody judged it; row 4 is, and did not pay: nothing is known after."""
    trial = switching([[0, 1], [0, 0, 0], [0, 0]], [[-1, 2], [-1, 2, 2], [-1, -1]])
    trial.reward_valid[3] = False
    labels = corrected(trial).intended[:, 0].tolist()
    assert labels == pytest.approx([0.5, 0.2, 0.2, 0.2, 0.5, 0.5, 0.5])


def test_a_static_task_is_never_doubted() -> None:
    trial = hand_made([[0, 1], [0, 0, 0]], in_port=[[-1, 2], [-1, 2, 2]])
    assert corrected(trial).intended[:, 0].tolist() == pytest.approx([0.5, 0.2, 0.2, 0.2, 0.2])


def test_relabelling_takes_one_port_per_episode() -> None:
    """Ports 1, 0, 2: episode 1 is cut at row 1, episode 2 at row 4; in episode 3 port 2 was never tried."""
    ports = [[-1, 1, 0], [-1, 0, 1], [-1, 0]]
    trial = switching([[0, 0, 1], [0, 0, 1], [0, 1]], ports)
    cut = relabel(trial, [1, 0, 2], horizon=5, end_on_success=True)
    assert cut.reward.tolist() == [0, 1, 0, 1, 0, 0]
    assert cut.switching
    assert not cut.ends
    fixed = relabel(trial, [1, 0, 0], horizon=5, end_on_success=False)
    assert fixed.reward.tolist() == [0, 1, 0, 0, 1, 0, 0, 1]


def test_relabelled_trials_follow_the_law() -> None:
    """Every port was tried in each episode of full length, so that the rewards tell which port was drawn."""
    config = tiny_config("task.episodes=4", "task.switch_probability=0.4", "learner.relabel=1.0", "task.horizon=4")
    rows, ports = [0.0] * 5, [-1, 0, 1, 2, -1]
    trial = switching([rows] * 4, [ports] * 4)
    learner = Learner(config, Trials())
    drawn = []
    for _ in range(250):
        made = learner._maybe_relabelled(trial)
        drawn.append(made.in_port[made.reward > 0.5].argmax(axis=-1))
    steps = [(b - a) % 3 for lives in drawn for a, b in itertools.pairwise(lives)]
    assert len(steps) == 750
    assert np.bincount(steps) / 750 == pytest.approx([0.6, 0.2, 0.2], abs=0.05)
    assert np.bincount([lives[0] for lives in drawn]) / 250 == pytest.approx([1 / 3] * 3, abs=0.09)


class Trials:
    trials: tuple[()] = ()


def test_queries_ask_about_their_own_episode() -> None:
    """Port 1 pays in episode 1, is dry in episode 2, where port 0 pays; in episode 3 only port 2 was tried.

    From the find in episode 1 on the odds are told: what is known of a later episode weighs 1 from its start.
    """
    trial = switching([[0, 1], [0, 0, 1], [0, 0]], [[-1, 1], [-1, 1, 0], [-1, 2]])
    queries = make_batch([trial], torch.device("cpu")).queries
    assert queries.reward[0].tolist() == [[0, 1, 0]] * 2 + [[1, 0, 0]] * 3 + [[0, 0, 0]] * 2
    first, second, third = [[0.2] * 3, [1, 1, 1]], [[1, 1, 1]] * 3, [[0, 0, 1]] * 2
    assert queries.weight[0].numpy() == pytest.approx(np.array([*first, *second, *third]))


def test_an_agent_counts_episodes_as_it_was_trained_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained with K = 2, now in trials of 4: it sees 0, 1/2, 1/2, 1/2. Its own config would say 0, 1/4, 1/2, 3/4."""
    trained, now = tiny_config("task.episodes=2"), tiny_config("task.episodes=4")
    nets = Agent(trained)._nets.state_dict()
    agent = Agent(now)
    assert times(agent) == [0.0, 0.25, 0.5, 0.75]
    agent.load(Weights(nets, 0, 0, "r", to_mapping(trained)))
    assert times(agent) == [0.0, 0.5, 0.5, 0.5]
    agent.load(Weights(nets, 1, 1, "r", to_mapping(now)))
    assert times(agent) == [0.0, 0.25, 0.5, 0.75]


def times(agent: Agent) -> list[float]:
    """The episode feature at the first row of four episodes."""
    state = RobotState(np.zeros(6), np.zeros(6), np.zeros(3), np.array([0.0, 0, 0, 1]), 1)
    seen = Observation(np.zeros((32, 16, 3), np.uint8), state, Reward(0.0, False, 0.0), 1)
    flags = [RowFlags(e, 0, e == 0, True, False, False, False, False) for e in range(4)]
    return [float(agent._inputs(seen, f, np.zeros(3, np.float32)).time[0, 1]) for f in flags]
