"""Nothing that crosses a process or disk boundary can make us run it: no pickle, eval, exec or unsafe YAML in src/."""

from __future__ import annotations

import ast
import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from meld_core.config import ConfigError, read_yaml
from meld_core.replay import Replay
from meld_core.storage.checkpoint import CheckpointError, read
from meld_core.storage.spool import decode_part
from meld_core.storage.trial_file import TrialError, decode_trial
from meld_core.weights import Weights, WeightsError

SOURCE = Path(__file__).resolve().parents[2] / "src"
FILES = sorted(SOURCE.rglob("*.py"))
FORBIDDEN_MODULES = {
    "pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle", "xmlrpc",
}  # fmt: skip
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "execfile"}
UNPICKLING = {"Pool", "Manager", "SimpleQueue", "JoinableQueue", "ProcessPoolExecutor", "send_pyobj", "recv_pyobj"}
"""Of multiprocessing, concurrent.futures and others, by whatever name the module goes."""
IMPORTERS = {
    "meld_core/bench/peer.py", "meld_core/evaluation/workers.py", "meld_core/exchange/lerobot.py",
    "meld_core/sim/render.py", "meld_core/study/work.py", "meld_ros/bags/__init__.py", "meld_ros/bags/recorder.py",
    "meld_ros/cli.py", "meld_ros/node_main.py",
    "meld_ros/commands/bench.py", "meld_ros/commands/data.py", "meld_ros/images.py",
}  # fmt: skip
"""Files that import a module by a name: of a table of ours, or (the recorder) of a message type."""
FORBIDDEN_CALLS = {
    "torch.load", "torch.save", "torch.jit.load", "torch.package", "numpy.load", "np.load", "np.save", "np.savez",
    "numpy.save", "multiprocessing.Queue",
    "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.UnsafeLoader", "yaml.Loader",
    "yaml.FullLoader", "os.system", "os.popen", "runpy.run_path", "subprocess.getoutput",
}  # fmt: skip


def faults_of(tree: ast.AST) -> list[str]:
    """Every forbidden thing that a module names."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            found += [name for name in names if name.partition(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in FORBIDDEN_NAMES:
            found.append(node.id)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in FORBIDDEN_CALLS:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Attribute | ast.alias) and _last(node) in UNPICKLING:
            found.append(_last(node))
        elif isinstance(node, ast.Call):
            found += [f"{k.arg}=True" for k in node.keywords if k.arg in ("allow_pickle", "shell") and _is_on(k.value)]
            found += _unsafe_yaml(node)
            if isinstance(node.func, ast.Attribute) and node.func.attr == "recv" and not node.args:
                found.append("recv() of a connection, which unpickles; recv_bytes does not")
    return found


def _last(node: ast.Attribute | ast.alias) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.name.rpartition(".")[2]


def _is_on(value: ast.expr) -> bool:
    return not (isinstance(value, ast.Constant) and value.value is False)


def _unsafe_yaml(call: ast.Call) -> list[str]:
    """`yaml.load` only with our loader, which is a SafeLoader."""
    if ast.unparse(call.func) != "yaml.load":
        return []
    return [] if [ast.unparse(k.value) for k in call.keywords if k.arg == "Loader"] == ["_Loader"] else ["yaml.load"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_source_names_what_could_run_data(path: Path) -> None:
    assert faults_of(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import torch\ntorch.load('x')", "eval('1')", "x = exec",
        "np.load(f, allow_pickle=True)", "yaml.load(t, Loader=yaml.Loader)", "yaml.load(t)", "run(c, shell=True)",
        "yaml.unsafe_load(t)", "read(f, allow_pickle=flag)", "__import__('os')",
        "connection.recv()", "from concurrent.futures import ProcessPoolExecutor", "context.Pool(2)",
    ],
)  # fmt: skip
def test_the_scan_sees_each_of_them(source: str) -> None:
    assert faults_of(ast.parse(source)) != []


def test_modules_are_imported_by_name_in_few_places() -> None:
    named = {p.relative_to(SOURCE).as_posix() for p in FILES if "import_module(" in p.read_text(encoding="utf-8")}
    assert named <= IMPORTERS


class Bomb:
    """Unpickling it would say so."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("data was run",))


def bombs() -> list[bytes]:
    array = io.BytesIO()
    np.save(array, np.array([Bomb()], dtype=object), allow_pickle=True)
    return [pickle.dumps(Bomb()), array.getvalue(), b"!!python/object/apply:pytest.fail ['data was run']"]


@pytest.mark.parametrize("data", bombs(), ids=["pickle", "npy", "yaml"])
def test_every_reader_refuses_data_that_would_run(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    for read_bytes, kind in ((decode_trial, TrialError), (decode_part, TrialError), (Weights.from_bytes, WeightsError)):
        with pytest.raises(kind):
            read_bytes(data)
    with pytest.raises(CheckpointError):
        read(path)
    with pytest.raises(ConfigError):
        read_yaml(path)
    assert Replay(tmp_path).problems
