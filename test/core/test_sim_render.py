"""Back ends of rendering: their order, their failure in one sentence, and a machine without any OpenGL."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from meld_core.config import Config
from meld_core.sim import render
from meld_core.sim.robot import SimRobot
from meld_core.task_families import make_tasks

PICTURES_WITHOUT_GL = """
import sys
import numpy as np
from meld_core.config import Config
from meld_core.rewards import make_detector
from meld_core.sim.render import find_backend
from meld_core.sim.robot import SimRobot
from meld_core.task_families import make_tasks

config = Config()
robot = SimRobot(config)
robot.connect()
robot.set_task(make_tasks(config.task).sample("train", 3))
robot.reset()
views = robot.views()
again = robot._renderer.render(robot._data, [])
robot.close()
np.savez(sys.argv[1], backend=find_backend(), again=len(again), **{name: view.pixels for name, view in views.items()})
"""


@pytest.fixture
def fresh_probe(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No earlier probe is remembered."""
    monkeypatch.delenv("MELD_RENDERER", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("working", "expected"), [({"egl", "osmesa", "warp"}, "egl"), ({"osmesa", "warp"}, "osmesa"), ({"warp"}, "warp")]
)
def test_the_first_working_back_end_wins(fresh_probe: pytest.MonkeyPatch, working: set[str], expected: str) -> None:
    fresh_probe.setattr(render, "_works", working.__contains__)
    assert render.find_backend() == expected


def test_the_probe_is_handed_to_child_processes(fresh_probe: pytest.MonkeyPatch) -> None:
    probed: list[str] = []
    fresh_probe.setattr(render, "_works", lambda backend: probed.append(backend) or backend == "osmesa")
    assert [render.find_backend(), render.find_backend()] == ["osmesa", "osmesa"]
    assert probed == ["egl", "osmesa"]
    assert os.environ["MELD_RENDERER"] == "osmesa"


def test_no_back_end_is_one_clear_sentence(fresh_probe: pytest.MonkeyPatch) -> None:
    fresh_probe.setattr(render, "_works", lambda backend: False)
    with pytest.raises(render.RenderError, match="no way to render: neither EGL, OSMesa nor mujoco-warp works here"):
        render.find_backend()


def test_a_back_end_that_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"lib of {name}\nis missing")

    monkeypatch.setattr(render.importlib, "import_module", fail)
    model = render.mujoco.MjModel.from_xml_string("<mujoco/>")
    with pytest.raises(render.RenderError, match=r"cannot render with 'osmesa': lib of mujoco.osmesa is missing"):
        render.make_renderer(model, "osmesa")


def test_without_any_opengl_pictures_come_from_mujoco_warp_and_look_the_same(tmp_path: Path) -> None:
    """PyOpenGL is hidden and MUJOCO_GL asks for what is not there: the import survives, the probe finds warp."""
    hidden = tmp_path / "OpenGL"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ImportError('no OpenGL here')")
    environment = {name: value for name, value in os.environ.items() if name not in ("MELD_RENDERER", "MUJOCO_GL")}
    source = str(Path(render.__file__).parents[2])
    environment |= {"PYTHONPATH": f"{tmp_path}{os.pathsep}{source}", "MUJOCO_GL": "egl"}
    out = tmp_path / "views.npz"
    command = [sys.executable, "-c", PICTURES_WITHOUT_GL, str(out)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr
    traced = np.load(out)
    assert str(traced["backend"]) == "warp"
    for name, view in views_here().items():
        difference = np.abs(traced[name].astype(int) - view.astype(int))
        assert difference.mean() < 2.5, name
        assert (difference.max(axis=-1) > 40).mean() < 0.02, name  # edges only


def views_here() -> dict[str, np.ndarray]:
    """The same views by this machine's own back end."""
    config = Config()
    robot = SimRobot(config)
    robot.connect()
    robot.set_task(make_tasks(config.task).sample("train", 3))
    robot.reset()
    views = {name: view.pixels for name, view in robot.views().items()}
    robot.close()
    return views
