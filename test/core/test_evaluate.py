"""Evaluation of a run with told trials: the same for any number of processes; certificate, plots, video, report."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scored_trials import two_episodes

from meld_core.config import Config, EvalConfig, load_config, to_mapping
from meld_core.evaluate import Evaluation, EvaluationError, evaluate, evaluate_run
from meld_core.evaluation.certificate import (
    CertificateError,
    check_certificate,
    first_learner_update,
    git_state,
    load_certificate,
    make_certificate,
)
from meld_core.metrics import MetricsWriter
from meld_core.reporting import video
from meld_core.reporting.plots import moving_rate
from meld_core.reporting.video import film, write_video
from meld_core.storage.run_folder import RunError, RunFolder
from meld_core.storage.trial_file import encode_trial
from meld_core.types import Trial
from meld_core.weights import Weights, WeightsError, save_weights

TOLD = "scored_trials:collect"
TRIALS = 40


def make_config(**changes: object) -> Config:
    """A config of a short evaluation on one process."""
    settings = {"trials": TRIALS, "task_seed": 1000, "video_trials": 2, "processes": 1, "beliefs": False, **changes}
    return dataclasses.replace(Config(), eval=EvalConfig(**settings))  # type: ignore[arg-type]


def make_weights(config: Config, version: int = 5) -> Weights:
    """Weights that no told trial looks at."""
    return Weights({"x": torch.zeros(1)}, version, 599, "demo", to_mapping(config))


def make_evaluation(*, trained: bool = True, clear_belief: bool = False) -> Evaluation:
    """An evaluation of told trials in this process."""
    config = make_config()
    weights = make_weights(config) if trained else None
    return evaluate(config, weights, TRIALS, 1000, clear_belief=clear_belief, processes=1, collect=TOLD)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run with weights and metrics: 12 demonstrations, then 60 policy trials that get better."""
    config = make_config()
    folder = RunFolder(tmp_path / "demo").create(config)
    save_weights(folder.weights, make_weights(config))
    with MetricsWriter(folder.path, tensorboard=False) as writer:
        for n in range(72):
            hits = [n % 3 == 0, n > 40]
            source = "script" if n < 12 else "policy"
            writer.write("trial", trial=n, steps=30 * (n + 1), source=source, success=hits, first_attempt=hits)
            if n in (11, 20):
                writer.write("learner", trial=n, model_updates=50 * n, **{"model/loss": 1.0})
    return folder


def test_statistics_follow_from_what_the_trials_tell() -> None:
    """Seeds 1000..1039: 13 are multiples of 3, 2 multiples of 20."""
    episodes = make_evaluation().statistics()
    assert (episodes["1"]["successes"], episodes["2"]["successes"]) == (13, 38)
    assert (episodes["1"]["first_attempts"], episodes["2"]["first_attempts"]) == (0, 38)
    assert (episodes["1"]["median_steps_to_success"], episodes["2"]["median_steps_to_success"]) == (3, 2)


def test_result_does_not_depend_on_the_number_of_processes() -> None:
    config = make_config()
    alone: dict[int, bytes] = {}
    spread: dict[int, bytes] = {}
    for processes, trials in ((1, alone), (2, spread)):

        def keep(index: int, trial: Trial, trials: dict[int, bytes] = trials) -> None:
            trials[index] = encode_trial(trial)

        evaluate(config, make_weights(config), 7, 1000, processes=processes, collect=TOLD, on_trial=keep)
    assert sorted(alone) == list(range(7))
    assert spread == alone


@pytest.mark.parametrize(
    ("collect", "text"),
    [
        ("scored_trials:collect_then_die", r"worker \d died \(killed by SIGKILL\), after 1 of its 2 trials"),
        ("scored_trials:collect_then_fail", r"worker \d failed: RuntimeError: the bench is on fire, after 1 of its 2"),
    ],
)
def test_lost_worker_is_an_error_that_says_so(collect: str, text: str) -> None:
    with pytest.raises(EvaluationError, match=text):
        evaluate(make_config(), None, 4, 1000, processes=2, collect=collect)


def test_weights_of_another_architecture_are_refused_before_anything_runs() -> None:
    other = load_config(overrides=["model.memory=64"])
    with pytest.raises(WeightsError, match=r"model\.memory=64"):
        evaluate(make_config(), make_weights(other), 2, 1000, processes=1, collect=TOLD)


def test_run_gets_certificate_curve_video_and_report(run: RunFolder) -> None:
    told: list[tuple[str, int, int]] = []
    with MetricsWriter(run.path, tensorboard=False) as metrics:
        row = {"due": 80, "missed": 2, **{f"latency/total_{key}_ms": 12.34 for key in ("p50", "p95", "p99", "max")}}
        metrics.write("latency", trial=4, **row)
    path = evaluate_run(run, "meld train", {"trainer": 17}, lambda *step: told.append(step), collect=TOLD)
    certificate = load_certificate(path)
    assert path == run.certificate
    assert told[0] == ("evaluation", 1, 3 * TRIALS)
    assert told[-1] == ("evaluation", 3 * TRIALS, 3 * TRIALS)
    assert certificate["first_learner_update_step"] == 360
    assert certificate["process_ids"]["trainer"] == 17
    assert certificate["weights"]["version"] == 5
    assert certificate["controls"]["untrained"]["greedy"] is False
    with Image.open(run.path / "learning_curve.png") as picture:
        assert len(picture.convert("RGB").getcolors(100_000) or []) > 20
    assert (run.videos / "held_out.mp4").stat().st_size > 1000
    page = run.report.read_text()
    assert "0.950 [0.83, 0.99]" in page
    assert "<td>total</td><td>12.3</td><td>12.3</td><td>12.3</td><td>12.3</td>" in page
    assert "Over 80 steps of the training, since policy_node was started last; 2 were late or passed over" in page
    assert "data:video/mp4;base64," in page
    assert 'src="data:image/png;base64,' in page


def test_comparison_with_the_controls_by_hand(run: RunFolder) -> None:
    """Episode 2, 40 tasks: ours 38; cleared belief 13, of which seed 1020 is one that ours fails."""
    controls = {"untrained": make_evaluation(trained=False), "belief_cleared": make_evaluation(clear_belief=True)}
    made = make_certificate(make_evaluation(), make_config(), command="x", controls=controls)
    cleared = made["controls"]["belief_cleared"]["paired"]
    two = cleared["2"]["success"]
    assert [two[k] for k in ("both", "only_ours", "only_control", "neither")] == [12, 26, 1, 1]
    assert two["difference"] == pytest.approx(25 / 40)
    assert two["excludes"]
    assert not cleared["1"]["success"]["excludes"]
    assert made["controls"]["untrained"]["paired"]["2"]["first_attempt"]["difference"] == pytest.approx(38 / 40)
    assert made["outcomes"]["2"]["success"].count("1") == 38
    assert made["outcomes"]["2"]["success"][20] == "0"


def test_control_on_other_tasks_is_refused() -> None:
    ours = make_evaluation()
    with pytest.raises(CertificateError, match="other tasks"):
        make_certificate(ours, Config(), command="x", controls={"untrained": dataclasses.replace(ours, task_seed=7)})


def test_certificate_says_what_the_issue_asks_for() -> None:
    config = make_config()
    made = make_certificate(make_evaluation(), config, command="meld eval --run demo")
    check_certificate(made, "made")
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["simulated"] is True
    assert (made["robot"], made["task"], made["split"]) == ("wx250s", "insertion", "held_out")
    assert (made["task_seed"], made["trials"], made["belief"]) == (1000, TRIALS, "carried")
    assert (made["reward_training"], made["config_sha256"]) == ("sparse", config.digest())
    assert made["chance_first_attempt"] == pytest.approx(1 / 3)
    assert len(made["split_hash"]) == len(made["weights"]["sha256"]) == 64
    assert made["weights"]["trained_through_trial"] == 599


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda c: c.pop("split_hash"), "lacks 'split_hash'"),
        (lambda c: c.update(schema="other/1"), "of schema 'other/1'"),
        (lambda c: c.update(trials="many"), "trials='many'"),
        (lambda c: c["episodes"]["2"].update(rate=0.99), "do not follow from the successes"),
        (lambda c: c["episodes"]["1"].update(wilson95=[0.1, 0.2]), "do not follow from the successes"),
    ],
)
def test_damaged_certificate_is_refused(tmp_path: Path, damage: object, text: str) -> None:
    made = make_certificate(make_evaluation(), make_config(), command="x")
    damage(made)  # type: ignore[operator]
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(made))
    with pytest.raises(CertificateError, match=text):
        load_certificate(path)


def test_missing_certificate_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"there is no certificate .*meld eval"):
        load_certificate(tmp_path / "certificate.json")


def test_missing_run_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run folder"):
        evaluate_run(RunFolder(tmp_path / "nothing"), "x", collect=TOLD)


def test_run_without_weights_is_one_sentence(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "young").create(make_config())
    with pytest.raises(EvaluationError, match="young holds no weights yet; train it first"):
        evaluate_run(folder, "x", collect=TOLD)
    assert not folder.certificate.exists()


def test_first_learner_update_is_the_steps_of_its_trial() -> None:
    trials = [{"trial": 0, "steps": 30}, {"trial": 1, "steps": 55}]
    assert first_learner_update(trials, [{"trial": 0, "model_updates": 0}, {"trial": 1, "model_updates": 9}]) == 55
    assert first_learner_update(trials, []) is None


def test_a_folder_that_is_not_under_git_has_no_commit(tmp_path: Path) -> None:
    assert git_state(tmp_path) == (None, None)


def test_moving_rate_counts_the_last_fifty() -> None:
    rows = [{"steps": 10 * n, "success": [n < 30, None]} for n in range(80)]
    points = moving_rate(rows, "success", 0)
    assert points[0] == (0, 1, 1)
    assert points[49] == (490, 30, 50)
    assert points[79] == (790, 0, 50)
    assert moving_rate(rows, "success", 1) == []


def colourful(trial: Trial) -> Trial:
    """The same trial with one upper view in red and one lower view in blue."""
    image = np.zeros((len(trial), 16, 8, 3), np.uint8)
    image[:, :8, :, 0], image[:, 8:, :, 2] = 255, 255
    return dataclasses.replace(trial, rows={**trial.rows, "image": image})


def test_film_shows_views_side_by_side_and_frames_the_outcome() -> None:
    frames = list(film(colourful(two_episodes(first=False, second=True)), "task 1", Config()))
    assert len(frames) == (3 + video.PAUSE) + (2 + video.PAUSE)
    assert frames[0].shape == (video.VIEW_SIZE + video.TEXT_HEIGHT, 2 * video.VIEW_SIZE, 3)
    assert frames[0][100, 100].tolist() == [255, 0, 0]
    assert frames[0][100, 400].tolist() == [0, 0, 255]
    red, green = frames[3][0, 0].tolist(), frames[-1][0, 0].tolist()
    assert red[0] > red[1]
    assert green[1] > green[0]
    assert frames[0][video.VIEW_SIZE :].max() > 200


def test_without_ffmpeg_the_film_is_a_gif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)
    path = write_video([colourful(two_episodes(first=True, second=True))], tmp_path / "film", Config())
    assert path == tmp_path / "film.gif"
    with Image.open(path) as picture:
        assert picture.n_frames > 4  # equal frames in a row become one, shown longer


def test_nothing_to_film_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no trials to film"):
        write_video([], tmp_path / "film", Config())
