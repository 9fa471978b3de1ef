"""Trials as a LeRobot dataset, format v3.0 (huggingface/lerobot, `codebase_version` v3.0).

    meta/info.json                        features, counts, paths
    meta/stats.json                       min, max, mean, std, count of every feature
    meta/tasks.parquet                    task_index, indexed by the task's sentence
    meta/episodes/chunk-000/file-000.parquet   per episode: length, rows, files, statistics
    data/chunk-000/file-000.parquet ...   one row per frame; pictures as PNG inside, so that no pixel changes

One episode of ours is one episode there. A row is a step: o_t, the executed action a_t, and what came of it
(`next.reward`, `next.success`, `next.done`); the last observation of an episode, which no action follows, is left out.
The sentence of the task is the same for all: which port is live stays hidden, as it is from the agent.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meld_core.cameras.identity import png_of
from meld_core.exchange.lerobot_frames import Shape, features_of, frames_of, views_of
from meld_core.exchange.lerobot_stats import Statistics
from meld_core.storage.files import make_folder, write_atomic
from meld_core.types import Trial

VERSION = "v3.0"
TASK = "find the port that is live and plug the connector in"
_FILE_SIZE = 100
"""A new data file is begun after this much [MB], as in LeRobot."""
_FILES_PER_CHUNK = 1000
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_EPISODES = "meta/episodes/chunk-000/file-000.parquet"


class ExportError(RuntimeError):
    """These trials cannot be exported; the text is one clear sentence."""


class LeRobotWriter:
    """Writes one dataset, episode by episode.

    Args:
        out: Folder of the dataset.

    Raises:
        ExportError: where pyarrow is not installed.
    """

    def __init__(self, out: Path) -> None:
        try:
            self._arrow = importlib.import_module("pyarrow")
            self._parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise ExportError("a LeRobot dataset needs the package pyarrow: pip install 'meld_ros[lerobot]'") from None
        self._out = out
        self._shape: Shape | None = None
        self._robot = ""
        self._writer: Any = None
        self._file, self._bytes, self._frames = -1, 0, 0
        self._episodes: list[dict[str, Any]] = []
        self._total: dict[str, Statistics] = {}

    def add(self, trial: Trial) -> None:
        """Append the episodes of one trial.

        Raises:
            ExportError: where its shapes or its rate are not those of the trials before.
        """
        shape = Shape.of(trial)
        if self._shape is not None and shape != self._shape:
            was, came = (f"{s.views} views of {s.size}, {s.joints} joints, {s.fps} Hz" for s in (self._shape, shape))
            raise ExportError(f"trial {trial.meta.id} has {came}, those before have {was}; export them apart")
        self._shape, self._robot = shape, trial.meta.id.robot
        for episode in trial.episodes():
            self._add_episode(trial, episode, shape)

    def _add_episode(self, trial: Trial, episode: slice, shape: Shape) -> None:
        columns = frames_of(trial, episode, shape.fps)
        steps, number = len(columns["frame_index"]), len(self._episodes)
        columns["episode_index"] = np.full(steps, number)
        columns["index"] = self._frames + np.arange(steps)
        columns["task_index"] = np.zeros(steps, np.int64)
        views = views_of(trial.rows["image"][episode.start : episode.stop - 1], shape)
        stats = {name: Statistics.of(array, image=name in views) for name, array in {**views, **columns}.items()}
        self._begin_file()
        table = self._table({name: _pngs(pictures) for name, pictures in views.items()}, columns)
        self._write(table)
        self._episodes.append(self._describe(number, steps, stats))
        for name, one in stats.items():
            self._total[name] = self._total[name] + one if name in self._total else one
        self._frames += steps

    def _describe(self, number: int, steps: int, stats: Mapping[str, Statistics]) -> dict[str, Any]:
        where = {"data/chunk_index": self._file // _FILES_PER_CHUNK, "data/file_index": self._file % _FILES_PER_CHUNK}
        meta = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        rows = {"dataset_from_index": self._frames, "dataset_to_index": self._frames + steps}
        flat = {f"stats/{name}/{key}": value for name, one in stats.items() for key, value in one.to_json().items()}
        return {"episode_index": number, "tasks": [TASK], "length": steps, **where, **meta, **rows, **flat}

    def _begin_file(self) -> None:
        if self._writer is not None and self._bytes < _FILE_SIZE * 1_000_000:
            return
        self._close_file()
        self._file, self._bytes = self._file + 1, 0

    def _write(self, table: Any) -> None:
        if self._writer is None:
            chunk, file = divmod(self._file, _FILES_PER_CHUNK)
            path = self._out / _DATA.format(chunk_index=chunk, file_index=file)
            self._writer = self._parquet.ParquetWriter(make_folder(path.parent) / path.name, table.schema)
        self._writer.write_table(table)  # one row group per episode
        self._bytes += table.nbytes

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _table(self, pictures: Mapping[str, list[bytes]], columns: Mapping[str, np.ndarray]) -> Any:
        assert self._shape is not None
        arrow, features = self._arrow, features_of(self._shape)
        png = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
        arrays = {}
        for name, feature in features.items():
            if name in pictures:
                arrays[name] = arrow.array([{"bytes": data, "path": None} for data in pictures[name]], png)
            else:
                arrays[name] = self._array(columns[name], feature)
        return arrow.table(arrays).replace_schema_metadata({"huggingface": json.dumps(_huggingface(features))})

    def _array(self, values: np.ndarray, feature: Mapping[str, Any]) -> Any:
        kind = getattr(self._arrow, {"bool": "bool_"}.get(feature["dtype"], feature["dtype"]))()
        (size,) = feature["shape"]
        if values.ndim == 1:
            return self._arrow.array(values, kind)
        flat = self._arrow.array(np.ascontiguousarray(values).reshape(-1), kind)
        return self._arrow.FixedSizeListArray.from_arrays(flat, size)

    def close(self) -> None:
        """Write what describes the data. Raises ExportError where no episode was added."""
        if self._shape is None:
            raise ExportError("there are no trials to export")
        self._close_file()
        folder = make_folder((self._out / _EPISODES).parent)
        self._parquet.write_table(self._arrow.Table.from_pylist(self._episodes), folder / Path(_EPISODES).name)
        self._write_tasks()
        stats = {name: one.to_json() for name, one in self._total.items()}
        write_atomic(self._out / "meta/stats.json", json.dumps(stats, indent=4).encode())
        write_atomic(self._out / "meta/info.json", json.dumps(self._info(self._shape), indent=4).encode())

    def _write_tasks(self) -> None:
        """A table with the index that pandas looks for."""
        index = [_pandas("task", "unicode", "object"), _pandas("task_index", "int64", "int64")]
        about = {"index_columns": ["task"], "column_indexes": [], "columns": index, "pandas_version": "2.0.0",
                 "creator": {"library": "pyarrow", "version": self._arrow.__version__}}  # fmt: skip
        table = self._arrow.table({"task_index": np.zeros(1, np.int64), "task": [TASK]})
        table = table.replace_schema_metadata({"pandas": json.dumps(about)})
        self._parquet.write_table(table, self._out / "meta/tasks.parquet")

    def _info(self, shape: Shape) -> dict[str, Any]:
        return {
            "codebase_version": VERSION,
            "robot_type": self._robot,
            "total_episodes": len(self._episodes),
            "total_frames": self._frames,
            "total_tasks": 1,
            "chunks_size": _FILES_PER_CHUNK,
            "data_files_size_in_mb": _FILE_SIZE,
            "video_files_size_in_mb": 200,
            "fps": shape.fps,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": _DATA,
            "video_path": None,
            "features": {name: {**feature, "fps": shape.fps} for name, feature in features_of(shape).items()},
        }


def export_lerobot(trials: Iterable[Trial], out: Path) -> int:
    """Write a dataset of all trials. Returns the number of its episodes.

    Raises:
        ExportError: where pyarrow is missing, or the trials do not fit together.
        StorageError: where the disk refuses.
    """
    writer = LeRobotWriter(out)
    for trial in trials:
        writer.add(trial)
    writer.close()
    return len(writer._episodes)


def _pngs(pictures: np.ndarray) -> list[bytes]:
    return [png_of(picture) for picture in pictures]


def _pandas(name: str, kind: str, numpy: str) -> dict[str, Any]:
    return {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}


def _huggingface(features: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The features once more, as the library `datasets` writes them into its own files."""
    told: dict[str, Any] = {}
    for name, feature in features.items():
        value = {"dtype": feature["dtype"], "_type": "Value"}
        if feature["dtype"] == "image":
            told[name] = {"_type": "Image"}
        elif feature["shape"] == [1]:
            told[name] = value
        else:
            told[name] = {"feature": value, "length": feature["shape"][0], "_type": "Sequence"}
    return {"info": {"features": told}}
