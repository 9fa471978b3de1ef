"""Trials for other programs, and back: by hand, and for whatever trials hypothesis thinks of."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trial_builder import set_at, trial_of

from meld_core.exchange.folders import read_trials, trial_paths
from meld_core.exchange.lerobot import TASK, ExportError, export_lerobot
from meld_core.exchange.lerobot_stats import Statistics
from meld_core.exchange.npz import export_npz, npz_of
from meld_core.storage.trial_file import TrialError, decode_trial, encode_trial
from meld_core.types import ROW_FIELDS, Trial, TrialMeta
from meld_ros.cli import main

SLOW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def seconds_apart(trial: Trial) -> Trial:
    """The same trial with a quarter of a second between rows."""
    stamp = 250_000_000 * (np.arange(len(trial)) + 1)
    return dataclasses.replace(trial, rows={**trial.rows, "stamp": stamp})


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    """Sound trials with random numbers, and a reward that nobody judged."""
    steps = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    success = draw(st.booleans())
    trial = seconds_apart(trial_of(draw(st.integers(0, 99)), steps, success=success))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = trial.rows["image"].shape
    rows = dict(trial.rows)
    rows["image"] = rng.integers(0, 256, shape, dtype=np.uint8)
    for name in ("joints", "velocities", "tool_position", "tool_orientation"):
        rows[name] = rng.normal(size=rows[name].shape).astype(np.float32)
    rows["action"] = np.where(rows["action"] == 0.0, 0.0, rng.uniform(-1, 1, rows["action"].shape)).astype(np.float32)
    unjudged = 1
    if not rows["success"][unjudged] and not rows["first_in_episode"][unjudged]:
        for name, value in (("reward", np.nan), ("probability", np.nan), ("reward_valid", False)):
            rows[name] = rows[name].copy()
            rows[name][unjudged] = value
    return decode_trial(encode_trial(dataclasses.replace(trial, rows=rows)))


def from_npz(data: bytes) -> Trial:
    """A trial from its archive, with numpy alone."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    meta = TrialMeta.from_json(arrays.pop("meta").tobytes().decode())
    truth = {name[6:]: array for name, array in arrays.items() if name.startswith("truth/")}
    return Trial(meta, {name: arrays[name] for name in ROW_FIELDS}, truth)


@SLOW
@given(trial=trials())
def test_an_archive_holds_every_byte_of_a_trial(trial: Trial) -> None:
    assert encode_trial(from_npz(npz_of(trial))) == encode_trial(trial)


def read_lerobot(folder: Path) -> dict[str, np.ndarray]:
    """Columns of a dataset by its own description (info.json), with pyarrow and OpenCV alone."""
    info = json.loads((folder / "meta/info.json").read_text())
    episodes = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    columns: dict[str, list[Any]] = {name: [] for name in info["features"]}
    for episode in episodes:
        path = info["data_path"].format(chunk_index=episode["data/chunk_index"], file_index=episode["data/file_index"])
        table = pq.read_table(folder / path, filters=[("episode_index", "=", episode["episode_index"])])
        assert table.num_rows == episode["length"] == episode["dataset_to_index"] - episode["dataset_from_index"]
        assert table.column_names == list(info["features"])
        for name, feature in info["features"].items():
            values = table.column(name).to_pylist()
            columns[name] += [pixels_of(v) for v in values] if feature["dtype"] == "image" else values
    read = {}
    for name, feature in info["features"].items():
        dtype = "uint8" if feature["dtype"] == "image" else feature["dtype"]
        read[name] = np.array(columns[name], dtype)
        shape = () if feature["shape"] == [1] and dtype != "uint8" else tuple(feature["shape"])
        assert read[name].shape[1:] == shape, name
    assert len(read["index"]) == info["total_frames"]
    assert len(episodes) == info["total_episodes"]
    return read


def pixels_of(cell: dict[str, Any]) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(cell["bytes"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@SLOW
@given(trial=trials())
def test_a_lerobot_dataset_holds_every_step_of_a_trial(trial: Trial, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("lerobot") / "set"
    assert export_lerobot([trial], folder) == trial.rows["episode"][-1] + 1
    read, rows = read_lerobot(folder), trial.rows
    last = np.append(rows["first_in_episode"][1:], True)
    now, after = ~last, ~rows["first_in_episode"]
    views = np.concatenate([read["observation.images.view_0"], read["observation.images.view_1"]], axis=1)
    np.testing.assert_array_equal(views, rows["image"][now])
    state = np.concatenate([rows["joints"], rows["tool_position"], rows["tool_orientation"]], axis=1)
    np.testing.assert_array_equal(read["observation.state"], state[now])
    np.testing.assert_array_equal(read["next.reward"], rows["reward"][after])
    np.testing.assert_array_equal(read["next.success"], rows["success"][after])
    for name, column in (
        ("observation.velocity", "velocities"),
        ("observation.reward", "reward"),
        ("observation.reward_valid", "reward_valid"),
        ("action", "action"),
        ("intended_action", "intended_action"),
        ("stamp", "stamp"),
        ("source", "source"),
        ("episode_in_trial", "episode"),
        ("frame_index", "step"),
    ):
        np.testing.assert_array_equal(read[name], rows[column][now], err_msg=name)
    np.testing.assert_array_equal(read["next.done"], last[after])


def test_a_lerobot_dataset_by_hand(tmp_path: Path) -> None:
    """Two trials, of 3 and 2 and of 1 steps: six frames in three episodes at 4 frames per second."""
    trials = [seconds_apart(trial_of(7, (3, 2))), seconds_apart(trial_of(8, (1,), success=False))]
    assert export_lerobot(trials, tmp_path / "set") == 3
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert {key: info[key] for key in ("codebase_version", "fps", "total_episodes", "total_frames", "splits")} == {
        "codebase_version": "v3.0",
        "fps": 4,
        "total_episodes": 3,
        "total_frames": 6,
        "splits": {"train": "0:3"},
    }
    assert info["features"]["observation.images.view_0"]["shape"] == [2, 2, 3]
    read = read_lerobot(tmp_path / "set")
    np.testing.assert_array_equal(read["action"][:, 0], np.float32([0.01, 0.02, 0.03, 0.01, 0.02, 0.01]))
    np.testing.assert_array_equal(read["next.reward"], [0, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(read["next.done"], [0, 0, 1, 0, 1, 1])
    np.testing.assert_array_equal(read["timestamp"], [0, 0.25, 0.5, 0, 0.25, 0])
    np.testing.assert_array_equal(read["episode_index"], [0, 0, 0, 1, 1, 2])
    np.testing.assert_array_equal(read["trial_index"], [7, 7, 7, 7, 7, 8])
    np.testing.assert_array_equal(read["index"], range(6))
    stats = json.loads((tmp_path / "set/meta/stats.json").read_text())
    assert stats["next.reward"]["mean"] == pytest.approx([2 / 6])
    assert stats["next.reward"]["count"] == [6]
    assert stats["observation.images.view_0"]["max"] == [[[pytest.approx(2 / 255)]]] * 3
    tasks = pq.read_table(tmp_path / "set/meta/tasks.parquet")
    assert tasks.to_pylist() == [{"task_index": 0, "task": TASK}]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_trials_of_another_shape_do_not_share_a_dataset(tmp_path: Path) -> None:
    slower = trial_of(8)
    slower = dataclasses.replace(slower, rows={**slower.rows, "stamp": 1_000_000_000 * (np.arange(len(slower)) + 1)})
    with pytest.raises(ExportError, match=r"1 Hz, those before have .* 4 Hz; export them apart"):
        export_lerobot([seconds_apart(trial_of(7)), slower], tmp_path / "set")


def test_without_pyarrow_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExportError, match=r"needs the package pyarrow: pip install 'meld_ros\[lerobot\]'"):
        export_lerobot([trial_of()], tmp_path / "set")


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=30), st.data())
def test_statistics_of_parts_add_up(values: list[float], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(values) - 1))
    array = np.array(values)
    told = (Statistics.of(array[:cut]) + Statistics.of(array[cut:])).to_json()
    assert told["mean"] == pytest.approx([array.mean()], abs=1e-6)
    assert told["std"] == pytest.approx([array.std()], abs=1e-6, rel=1e-6)
    assert (told["min"], told["max"], told["count"]) == ([array.min()], [array.max()], [len(values)])


def test_statistics_leave_out_what_is_unknown_and_keep_the_digits_of_stamps() -> None:
    assert Statistics.of(np.array([1.0, np.nan, 3.0])).to_json()["mean"] == [2.0]
    assert Statistics.of(np.array([np.nan])).to_json()["mean"] == [None]
    stamps = 1_700_000_000_000_000_000 + np.array([0, 2_000, 4_000, 6_000])
    assert Statistics.of(stamps).to_json()["std"] == pytest.approx([np.sqrt(5) * 1000], rel=0.1)


def test_folders_of_trials(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="there is no folder"):
        trial_paths(tmp_path / "nowhere")
    with pytest.raises(TrialError, match="holds no trials"):
        trial_paths(tmp_path)
    for room, counter in (("replay", 1), ("spool/pending", 1), ("spool/pending", 2), ("evaluation", 3)):
        (tmp_path / room).mkdir(parents=True, exist_ok=True)
        trial = trial_of(counter)
        (tmp_path / room / f"{trial.meta.id}.safetensors").write_bytes(encode_trial(trial))
    assert sorted(trial.meta.id.counter for trial in read_trials(tmp_path)) == [1, 2, 3]
    (tmp_path / "replay" / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(TrialError, match=r"bad\.safetensors: "):
        list(read_trials(tmp_path))


def test_meld_data_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").mkdir()
    trial = seconds_apart(set_at(trial_of(3, aborted="x"), "truncated", -1, False))
    Path("t/a.safetensors").write_bytes(encode_trial(trial))
    assert main(["data", "export", "t", "--format", "npz", "--out", "n"]) == 0
    assert main(["data", "export", "t", "--format", "lerobot", "--out", "l"]) == 0
    assert "1 archives in n" in capsys.readouterr().out
    assert encode_trial(from_npz(Path(f"n/{trial.meta.id}.npz").read_bytes())) == encode_trial(trial)
    assert len(read_lerobot(Path("l"))["index"]) == 5
    assert main(["data", "export", "t", "--format", "npz", "--out", "n"]) == 2
    assert "n exists already" in capsys.readouterr().err
    assert export_npz([], tmp_path / "none") == 0
