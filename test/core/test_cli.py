"""The command `meld`: whatever a person gets wrong is one sentence and exit code 2, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meld_core.storage.run_folder import RunFolder
from meld_ros.cli import main
from meld_ros.share import resolve_config

SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence on stderr of a command that must end with exit code 2."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return captured.err.removeprefix("meld: ").rstrip()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "--set", "sac.discont=0.9"], "unknown setting 'sac.discont'; did you mean 'discount'?"),
        (["train", "--set", "sac.discount=1.5"], "SacConfig.discount is 1.5, must lie in [0.0, 1.0]"),
        (["train", "--set", "sac.discount"], "'sac.discount' is not of the form group.name=value"),
        (["train", "--set", "train.trials=many"], "setting 'train.trials' is 'many' (str), expected int"),
        (["train", "--config", "smokee"], "there is no 'smokee' in config; did you mean 'smoke'?"),
        (["train", "--config", "my/own.yaml"], "there is no config file my/own.yaml"),
        (["train", "--robot", "mujocoo"], "there is no 'mujocoo' in config/robots; did you mean 'mujoco'?"),
        (["train", "--task", "insert"], "there is no 'insert' in config/tasks; did you mean 'insertion'?"),
        (["train", "--resume"], "--resume needs --run NAME to say which run to go on with"),
        (["train", "--resume", "--run", "x", "--config", "smoke"], "leave --config out"),
        (["train", "--resume", "--run", "nowhere"], "there is no run folder runs/nowhere; runs holds no runs"),
        (["train", "--run", "../elsewhere"], "run name '../elsewhere' must be up to 64 of"),
        (["eval"], "say what to evaluate: either --run DIR or --weights FILE"),
        (["eval", "--run", "a", "--weights", "b"], "say what to evaluate: either --run DIR or --weights FILE"),
        (["eval", "--run", "nowhere"], "there is no run folder runs/nowhere"),
        (["eval", "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["launch", "trian"], "there is nothing to launch called 'trian'; did you mean 'train'?"),
        (["launch", "train", "robt:=mujoco"], "launch argument 'robt' is unknown; did you mean 'robot'?"),
        (["data", "verify", "nowhere"], "there is no folder nowhere to verify"),
        (["bench", "tock"], "there is nothing to measure called 'tock'; did you mean"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert sentence in refused(capsys, *arguments)
    assert not Path("runs").exists()  # nothing was begun


def test_a_run_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    RunFolder(Path("runs/x").resolve()).create(resolve_config(config="smoke"))
    assert "exists; go on with --resume" in refused(capsys, "train", "--config", "smoke", "--run", "x")


def test_a_run_is_not_gone_on_with_under_other_settings(capsys: pytest.CaptureFixture[str]) -> None:
    RunFolder(Path("runs/x").resolve()).create(resolve_config(config="smoke"))
    sentence = refused(capsys, "train", "--run", "x", "--resume", "--set", "train.seed=1")
    assert "train.seed was 0, now 1" in sentence


def test_a_run_without_weights_cannot_be_evaluated(capsys: pytest.CaptureFixture[str]) -> None:
    RunFolder(Path("runs/x").resolve()).create(resolve_config(config="smoke"))
    assert "holds no weights yet" in refused(capsys, "eval", "--run", "x")
    assert "holds no weights yet" in refused(capsys, "eval", "--run", "runs/x")


def test_a_broken_config_file_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("sac: {discount: [")
    assert "mine.yaml is not readable YAML" in refused(capsys, "train", "--config", "mine.yaml")
    (tmp_path / "mine.yaml").write_text("sacc: {discount: 0.9}")
    assert refused(capsys, "train", "--config", "mine.yaml") == "mine.yaml: unknown setting 'sacc'; did you mean 'sac'?"


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise ValueError("not for people")

    monkeypatch.setattr("meld_ros.commands.data_verify.run", broken)
    with pytest.raises(ValueError, match="not for people"):
        main(["data", "verify", "x"])


@pytest.mark.parametrize("arguments", [[], ["tain"], ["train", "--confg", "smoke"], ["data", "verfy", "x"]])
def test_wrong_usage_ends_with_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_help_needs_neither_torch_nor_ros() -> None:
    script = """
import sys
from meld_ros.cli import main
try:
    main(["train", "--help"])
except SystemExit as ended:
    assert ended.code == 0
print(sorted({"torch", "rclpy", "mujoco", "cv2"} & set(sys.modules)))
"""
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    shown = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert shown.stdout.splitlines()[-1] == "[]", shown.stderr
    assert "--in-process" in shown.stdout


def test_in_process_run_from_training_to_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    """The whole of `meld train`, then of `meld eval` and `meld data verify`, without ROS."""
    assert main(["train", "--config", "smoke", "--run", "x", "--in-process", "--set", "eval.processes=1"]) == 0
    out = capsys.readouterr().out
    certificate = json.loads(Path("runs/x/certificate.json").read_text())
    assert certificate["trials"] == 2
    assert certificate["command"].startswith("meld train --config smoke --run x --in-process")
    for shown in ("certificate.json", "report.html", "learning_curve.png", "videos/held_out"):
        assert shown in out
    assert main(["eval", "--run", "x", "--trials", "1", "--task-seed", "7", "--clear-belief", "--json", "c.json"]) == 0
    again = json.loads(Path("c.json").read_text())
    assert (again["trials"], again["task_seed"], again["belief"]) == (1, 7, "cleared")
    assert again["weights"]["sha256"] == certificate["weights"]["sha256"]
    capsys.readouterr()
    assert main(["data", "verify", "runs/x"]) == 0
    assert capsys.readouterr().out.startswith("4 trials, ")


def test_weights_of_another_architecture_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from meld_core.learner import Learner
    from meld_core.replay import Replay
    from meld_core.weights import save_weights

    config = resolve_config(config="smoke")
    folder = RunFolder(Path("runs/x").resolve()).create(config)
    path = save_weights(folder.weights, Learner(config, Replay(folder.replay), "x").weights())
    sentence = refused(capsys, "eval", "--weights", str(path), "--set", "model.memory=32")
    assert "weights were built with model.memory=16, this config has 32" in sentence
    path.write_bytes(path.read_bytes()[:-7])
    assert str(path) in refused(capsys, "eval", "--weights", str(path))
