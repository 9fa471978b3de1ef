"""The classical rival remembers, the oracle knows; both are scored from raw trials alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scored_trials import told_trial

from meld_core.baselines.raw_trials import RivalError, keep, read_trials, rescore
from meld_core.baselines.scripted import Oracle, PerfectVisionSearch, evaluate_scripted
from meld_core.config import Config, load_config
from meld_core.task_families import make_tasks
from meld_core.tasks import Task, seated
from meld_core.trial import TrialClock
from meld_core.types import Observation, Reward, RobotState

CONFIG = load_config(overrides=["eval.split=validation", "task.episodes=3"])
TASK = make_tasks(CONFIG.task).sample("validation", 0)
PICTURE = np.zeros((8, 4, 3), np.uint8)


def facing(live: int, later: tuple[int, ...] = ()) -> Task:
    """The same box with another live port, and one that may move between episodes."""
    return dataclasses.replace(TASK, live=live, later_live=later)


def attempts(rival: PerfectVisionSearch | Oracle, task: Task, *, sees: bool = True) -> list[list[int]]:
    """Ports in which the plug is seated, per episode, of an arm that obeys at once and starts above port 0."""
    config, clock, visited = CONFIG.task, TrialClock(CONFIG.task), []
    rival.set_task(task)
    rival.begin_trial(0)
    clock.begin_trial()
    for episode in range(config.episodes):
        tool, ports, going = np.add(task.ports[0], (0.0, 0.0, 0.02)), [], True
        while going:
            port = next((p for p in range(3) if seated(tool, task, p, config)), None)
            success = port == task.live_in(episode)
            reward = Reward(float(success), success, float(success)) if sees else Reward.missing()
            state = RobotState(np.zeros(6), np.zeros(6), tool, np.array([0.0, 0, 0, 1]), 1)
            flags = clock.row(success)
            rival.observe(Observation(PICTURE, state, reward, 1), flags, np.zeros(3, np.float32))
            ports += [] if port is None or ports[-1:] == [port] else [port]
            going = not flags.last_in_episode
            tool = tool + rival.act(True) * CONFIG.robot.step_size
        visited.append(ports)
    return visited


def test_the_nearest_port_comes_first_and_later_the_one_that_paid() -> None:
    assert attempts(PerfectVisionSearch(CONFIG), facing(2)) == [[0, 1, 2], [2], [2]]
    assert attempts(PerfectVisionSearch(CONFIG), facing(0)) == [[0], [0], [0]]


def test_a_port_that_no_longer_pays_is_left_and_the_one_that_never_paid_is_last() -> None:
    """Port 1 pays first; then 2, which had not failed yet; then 0: both others had failed before, 1 is the nearer."""
    moves = facing(1, (2, 0))
    assert attempts(PerfectVisionSearch(CONFIG), moves) == [[0, 1], [1, 2], [2, 1, 0]]


def test_a_new_trial_begins_without_a_memory() -> None:
    rival = PerfectVisionSearch(CONFIG)
    assert attempts(rival, facing(2))[0] == attempts(rival, facing(2))[0] == [0, 1, 2]


def test_a_reward_that_cannot_be_judged_refutes_no_port() -> None:
    assert attempts(PerfectVisionSearch(CONFIG), facing(1), sees=False)[0] == [0]


def test_the_oracle_goes_where_the_live_port_is_now() -> None:
    assert attempts(Oracle(CONFIG), facing(1, (2, 0))) == [[1], [2], [0]]


def test_oracle_on_the_bench_never_tries_a_wrong_port(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    result = evaluate_scripted(CONFIG, "oracle", 4, 1000, tmp_path / "raw", on_progress=lambda *a: told.append(a))
    assert [result["episodes"][e]["first_attempt_rate"] for e in "123"] == [1.0, 1.0, 1.0]
    assert [result["episodes"][e]["rate"] for e in "123"] == [1.0, 1.0, 1.0]
    assert result["first_success"]["episodes"] == {"1": 4, "2": 0, "3": 0, "never": 0}
    assert result["first_success"]["median_seconds"] == 0.25 * result["episodes"]["1"]["median_steps_to_success"]
    assert (result["agent"], result["split"], result["task_seed"], result["trials"]) == (
        "oracle",
        "validation",
        1000,
        4,
    )
    assert told == [("evaluation", n, 4) for n in (1, 2, 3, 4)]
    assert json.loads(json.dumps(result)) == result


def test_search_on_the_bench_needs_luck_once_and_is_scored_from_its_files(tmp_path: Path) -> None:
    result = evaluate_scripted(CONFIG, "search", 4, 1000, tmp_path / "raw")
    assert result["episodes"]["1"]["first_attempt_rate"] < 1.0
    assert [result["episodes"][e]["first_attempt_rate"] for e in "23"] == [1.0, 1.0]
    raw = tmp_path / "raw"
    assert sum(path.stat().st_size for path in raw.iterdir()) < 4 * 40_000
    again = rescore(CONFIG, raw)
    assert again["outcomes"] == result["outcomes"]
    assert again["first_success"] == result["first_success"]
    with pytest.raises(RivalError, match="there is an evaluation in .*raw already"):
        evaluate_scripted(CONFIG, "search", 4, 1000, raw)
    sorted(raw.iterdir())[1].unlink()
    with pytest.raises(RivalError, match="where number 1 was expected"):
        rescore(CONFIG, raw)


def test_what_an_unfinished_evaluation_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "raw.part").mkdir()
    (tmp_path / "raw.part" / "old.safetensors").write_bytes(b"half")
    trial = told_trial([[-1, 1, 1]], [[False, False, True]])
    keep([trial], tmp_path / "raw", 1)
    assert not (tmp_path / "raw.part").exists()
    (kept,) = read_trials(tmp_path / "raw")
    assert kept.rows["image"].shape == (3, 1, 1, 3)
    np.testing.assert_array_equal(kept.truth["port"], trial.truth["port"])


def test_unknown_kinds_and_empty_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RivalError, match="no scripted rival 'serch'; did you mean 'search'"):
        evaluate_scripted(Config(), "serch", 1, 0, tmp_path / "raw")
    with pytest.raises(RivalError, match="no raw trials"):
        read_trials(tmp_path)
