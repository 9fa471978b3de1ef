"""The demo of the package: its weights act, its certificate is theirs, and how another run becomes the demo."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scored_trials import told_trial, two_episodes

from meld_core.config import Config, from_mapping, load_config
from meld_core.demo import LARGEST, DemoError, demo_certificate, demo_weights, install_demo
from meld_core.evaluate import evaluate
from meld_core.evaluation.scoring import score_trial
from meld_core.reporting.film_sheet import write_sheet
from meld_core.storage.run_folder import RunFolder
from meld_core.weights import save_weights
from meld_ros.cli import main
from meld_ros.commands.demo import instructive, told

SHIPPED = Path(__file__).resolve().parents[2] / "src" / "meld_core" / "demo"


def test_demo_is_small_and_its_certificate_is_of_these_weights() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.glob("*.*")) <= LARGEST
    certificate = demo_certificate()
    assert certificate["weights"]["sha256"] == demo_weights().digest
    assert certificate["split"] == "held_out"
    assert certificate["trials"] >= 200
    last = list(certificate["episodes"].values())[-1]
    assert last["first_attempt_wilson95"][0] > certificate["chance_first_attempt"]


def test_demo_adapts_on_four_held_out_tasks() -> None:
    """The certificate's own first four tasks: what it says of them is what comes out, or nearly (other machines)."""
    weights = demo_weights()
    config = from_mapping(Config, weights.config)
    evaluation = evaluate(config, weights, 4, demo_certificate()["task_seed"], processes=1)
    said = demo_certificate()["outcomes"]["2"]["first_attempt"][:4]
    came = "".join("01"[hit] for hit in evaluation.outcomes("first_attempt", 1))
    assert sum(a == b for a, b in zip(said, came, strict=True)) >= 3
    assert evaluation.weights_digest == demo_certificate()["weights"]["sha256"]


def test_command_shows_a_table_and_writes_video_and_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--tasks", "1", "--folder", "shown"]) == 0
    out = capsys.readouterr().out
    assert "Simulation." in out
    assert "episode 2: success" in out
    for name in ("demo.mp4", "demo.png"):
        assert (tmp_path / "shown" / name).stat().st_size > 1000
        assert f"shown/{name}" in out
    assert main(["demo", "--tasks", "0"]) == 2
    assert "--tasks is 0; a demo needs at least one" in capsys.readouterr().err


def test_the_picture_is_of_a_trial_that_had_to_search_whatever_came_of_it() -> None:
    """Found at once, not found, found at the second port: the third; without such a one the first."""
    at_once = told_trial([[-1, 1], [-1, 1]], [[False, True], [False, True]], live=1)
    never = two_episodes(first=False, second=True, live=1)
    searched = two_episodes(first=True, second=False, live=1)
    assert instructive([at_once, never, searched]) == 2
    assert instructive([at_once, never]) == 0


def test_a_told_episode_reads_as_it_went() -> None:
    first, second = score_trial(two_episodes(first=True, second=False, live=1))
    assert told(first, 1) == "3 ✗  2 [green]✓[/green]  [dim]3 steps[/dim]"
    assert told(second, 1) == "3 ✗  [dim][red]not in 2 steps[/red][/dim]"


def test_sheet_has_one_line_of_pictures_per_episode(tmp_path: Path) -> None:
    from PIL import Image

    config = load_config(overrides=["sim.image_size=16"])
    trial = two_episodes(first=True, second=True)
    trial.rows["image"].resize((len(trial), 32, 16, 3), refcheck=False)  # type: ignore[attr-defined]
    with Image.open(write_sheet(trial, tmp_path / "sheet.png", config)) as sheet:
        assert sheet.size == (3 * 512 + 2 * 8, 2 * 320 + 8)


def test_another_run_becomes_the_demo_only_with_its_own_certificate(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run").create(from_mapping(Config, demo_weights().config))
    save_weights(run.weights, demo_weights(), final=True)
    run.certificate.write_text(json.dumps({**demo_certificate()}))
    target = tmp_path / "target"
    target.mkdir()
    assert install_demo(run, target).digest == demo_weights().digest
    assert (target / "weights.safetensors").read_bytes() == (SHIPPED / "weights.safetensors").read_bytes()
    other = {**demo_certificate(), "weights": {**demo_certificate()["weights"], "sha256": "0" * 64}}
    run.certificate.write_text(json.dumps(other))
    with pytest.raises(DemoError, match="is of other weights than"):
        install_demo(run, target)
