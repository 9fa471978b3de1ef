"""Make `.venv` and install what `make` needs; does nothing where that is done already. Standard library only.

Environment variables: VENV, the folder; TORCH_INDEX, where the CPU build of torch is looked for if pip's own index has
none.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = Path(os.environ.get("VENV", ROOT / ".venv"))
PYTHON = VENV / "bin" / "python"
TORCH_INDEX = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
EXTRAS = "baselines,test,dev"
ROS_PYTHONS = ((3, 10), (3, 11), (3, 12), (3, 13))


def main() -> int:
    """Install; 0 where the environment is ready."""
    if sys.version_info < (3, 10):  # noqa: UP036 - a person's old Python is what this line is for
        return fail(
            f"python3 is {platform.python_version()}; meld_ros needs Python 3.10 or newer (make PYTHON=python3.12)"
        )
    stamp, wanted = VENV / ".installed", fingerprint()
    if stamp.is_file() and stamp.read_text() == wanted:
        return 0
    try:
        make_venv()
        install()
    except subprocess.CalledProcessError as error:
        return fail(f"'{' '.join(map(str, error.cmd))}' failed with exit code {error.returncode}; its output is above")
    stamp.write_text(wanted)
    return 0


def fail(sentence: str) -> int:
    """Say it on stderr; exit code 2."""
    print(f"install: {sentence}", file=sys.stderr)
    return 2


def say(sentence: str) -> None:
    """One line of progress."""
    print(f"install: {sentence}", flush=True)


def fingerprint() -> str:
    """Changes when anything changes that the environment was made from."""
    files = [ROOT / "constraints.txt", ROOT / "setup.py", Path(__file__)]
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return "\n".join([*parts, sys.version, str(ROOT), os.environ.get("ROS_DISTRO", "no ROS sourced"), ""])


def environment() -> dict[str, str]:
    """Ours, without what the ROS wheels of another environment may have left in it."""
    env = dict(os.environ)
    if env.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None):
        env.pop("LD_LIBRARY_PATH", None)
    return env


def run(*command: object, quiet: bool = False) -> None:
    """Run a command. Raises CalledProcessError where it fails."""
    output = subprocess.DEVNULL if quiet else None
    subprocess.run([str(part) for part in command], check=True, env=environment(), stdout=output, stderr=output)


def succeeds(*command: object) -> bool:
    """Whether a command ends with exit code 0."""
    try:
        run(*command, quiet=True)
    except (subprocess.CalledProcessError, OSError):
        return False
    return True


def make_venv() -> None:
    """A virtual environment; one that sees the system's packages where a ROS is sourced."""
    with_ros = "ROS_DISTRO" in os.environ
    if suits(with_ros):
        return
    say(f"making {VENV} for Python {platform.python_version()}")
    options = ["--clear", *(["--system-site-packages"] if with_ros else [])]
    if any(succeeds(sys.executable, "-m", maker, *options, VENV) for maker in ("venv", "virtualenv")):
        return
    say("this Python can make no virtual environment: 'apt install python3-venv' or 'pip install virtualenv' mends it")
    run(sys.executable, "-m", "venv", *options, VENV)


def suits(with_ros: bool) -> bool:
    """Whether the environment that is there was made by this Python and in the right way."""
    settings = VENV / "pyvenv.cfg"
    if not settings.is_file() or f"include-system-site-packages = {str(with_ros).lower()}" not in settings.read_text():
        return False
    return succeeds(PYTHON, "-c", f"import sys, pip; assert sys.version_info[:2] == {sys.version_info[:2]}")


def install() -> None:
    """torch first, because which build is right depends on the machine; then everything else."""
    pip("pip>=25")  # older ones lose themselves among old versions (seen with pip 23 on Python 3.10)
    install_torch()
    extras = EXTRAS
    if "ROS_DISTRO" in os.environ and succeeds(PYTHON, "-c", "import rclpy, sensor_msgs"):
        say(f"using the sourced ROS 2 {os.environ['ROS_DISTRO']}")
    elif has_ros_wheels():
        extras += ",ros"
    else:
        say(f"PyPI has no ROS 2 for Python {platform.python_version()} on {platform.system()} {platform.machine()}: "
            "`make train` will run in one process")  # fmt: skip
    say("installing everything else (a minute or two)")
    pip("-e", f"{ROOT}[{extras}]")


def install_torch() -> None:
    """The CPU build where no GPU is."""
    version = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert version
    torch = f"torch=={version[1]}"
    if succeeds(PYTHON, "-c", f"import torch; assert torch.__version__.split('+')[0] == '{version[1]}'"):
        return None
    if platform.system() != "Linux" or succeeds("nvidia-smi", "-L"):
        say(f"installing {torch}")
        return pip(torch)
    say(f"no GPU here: installing the CPU build of {torch}")
    if succeeds(PYTHON, "-m", "pip", "install", "--dry-run", "--no-deps", f"{torch}+cpu"):
        return pip(f"{torch}+cpu")
    if reachable(TORCH_INDEX):
        return pip(f"{torch}+cpu", "--extra-index-url", TORCH_INDEX)
    say("the CPU build cannot be reached: installing the default one, which is larger and works as well")
    return pip(torch)


def has_ros_wheels() -> bool:
    """Whether PyPI serves rclpy for this machine."""
    return (platform.system(), platform.machine()) == ("Linux", "x86_64") and sys.version_info[:2] in ROS_PYTHONS


def reachable(url: str) -> bool:
    """Whether an index answers within five seconds."""
    try:
        with urllib.request.urlopen(f"{url}/torch/", timeout=5):
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False


def pip(*arguments: str) -> None:
    """pip install, at the tested versions."""
    run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint",
        ROOT / "constraints.txt", *arguments)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
