"""A real `colcon build` and `colcon test` into a folder of their own, and a real wheel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLCON = Path(sys.executable).parent / "colcon"
NODES = ("camera_node", "policy_node", "reward_node", "robot_node", "teleop_node", "trainer_node", "view_node")


def environment(**more: str) -> dict[str, str]:
    """Without what would let a build find the source checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more


def run(*command: object, cwd: Path, **more: str) -> str:
    """Output of a command that must succeed."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def data_files() -> set[str]:
    """Every launch, config and URDF file of the checkout."""
    files = [path for folder in ("launch", "config", "urdf") for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}


@pytest.fixture(scope="module", params=["plain", "symlink"])
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built colcon workspace whose source is a copy of this checkout."""
    folder = tmp_path_factory.mktemp(request.param)
    copy_of_checkout(folder / "src" / "meld_ros")
    options = ["--symlink-install"] if request.param == "symlink" else []
    run(COLCON, "build", *options, cwd=folder)
    return folder


def copy_of_checkout(target: Path) -> None:
    """Links to what git knows or will know: a build must not write into the checkout."""
    for name in ("package.xml", "setup.py", "setup.cfg", "pyproject.toml", "LICENSE"):
        target.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes((ROOT / name).read_bytes())
    for folder in ("src", "test", "launch", "config", "urdf", "resource"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and not {"__pycache__"} & set(path.parts) and ".egg-info" not in str(path):
                copied = target / path.relative_to(ROOT)
                copied.parent.mkdir(parents=True, exist_ok=True)
                copied.write_bytes(path.read_bytes())


def installed_environment(workspace: Path) -> dict[str, str]:
    """What `source install/setup.bash` sets."""
    listing = run("bash", "-c", f"source {workspace}/install/setup.bash && env -0", cwd=workspace)
    return dict(pair.split("=", 1) for pair in listing.split("\0") if "=" in pair)


def test_share_holds_every_launch_config_and_urdf_file(workspace: Path) -> None:
    share = workspace / "install" / "meld_ros" / "share" / "meld_ros"
    assert [name for name in data_files() if not (share / name).is_file()] == []
    assert (share / "package.xml").is_file()
    assert (share.parent / "ament_index" / "resource_index" / "packages" / "meld_ros").is_file()


def test_executables_lie_where_launch_looks(workspace: Path) -> None:
    scripts = workspace / "install" / "meld_ros" / "lib" / "meld_ros"
    assert {path.name for path in scripts.iterdir()} == {"meld", *NODES}
    assert all(os.access(path, os.X_OK) for path in scripts.iterdir())


def test_an_installed_meld_finds_its_files(workspace: Path) -> None:
    env = installed_environment(workspace)
    script = "import meld_ros.share as s; print(s.share_dir(), s.__file__); s.resolve_config(config='smoke')"
    out = subprocess.run([sys.executable, "-c", script], cwd=workspace, env=env, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    share, module = out.stdout.split()
    assert share == str(workspace / "install" / "meld_ros" / "share" / "meld_ros")
    assert Path(module).is_relative_to(workspace)
    meld = workspace / "install" / "meld_ros" / "lib" / "meld_ros" / "meld"
    shown = subprocess.run(
        [sys.executable, meld, "launch", "robot", "--show-args"], env=env, capture_output=True, text=True
    )
    assert "robot:=mujoco" in shown.stdout, shown.stderr


def test_colcon_test_runs_tests(workspace: Path) -> None:
    """Without pytest among the declared test requirements colcon runs none, and passes."""
    run(COLCON, "test", "--return-code-on-test-failure", cwd=workspace)
    summary = run(COLCON, "test-result", "--all", cwd=workspace)
    counted = re.search(r"Summary: (\d+) tests, 0 errors, 0 failures, 0 skipped", summary)
    assert counted, summary
    assert int(counted[1]) >= 10


def test_wheel_holds_every_file(tmp_path: Path) -> None:
    copy_of_checkout(tmp_path / "meld_ros")
    pip = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--wheel-dir",
        tmp_path,
    )
    run(*pip, "./meld_ros", cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    shared = {name.split("/share/meld_ros/")[1] for name in names if "/share/meld_ros/" in name}
    assert data_files() <= shared
    modules = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    demo = {"meld_core/demo/weights.safetensors", "meld_core/demo/certificate.json"}
    assert modules | demo <= set(names)
