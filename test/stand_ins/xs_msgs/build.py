"""Builds the message package of xs_sdk for tests: `python build.py FOLDER`, then put FOLDER on PYTHONPATH.

The definitions beside this file are written from the contract (interbotix_ros_core, interbotix_xs_msgs); only what our
adapter and its stand-in use. rosidl's generators and headers come with the ROS 2 wheels; a C and a C++ compiler are
needed. One type support (Fast DDS) is enough, so that no library is looked up by name at run time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np

PACKAGE = "interbotix_xs_msgs"
_LIBRARIES = [
    f"-l{name}"
    for name in (
        "rosidl_runtime_c", "rosidl_typesupport_c", "rosidl_typesupport_fastrtps_c", "rosidl_typesupport_fastrtps_cpp",
        "fastcdr", "rcutils", "rmw", "service_msgs__rosidl_generator_c", "service_msgs__rosidl_generator_py",
        "service_msgs__rosidl_typesupport_c", "service_msgs__rosidl_typesupport_fastrtps_c",
        "builtin_interfaces__rosidl_generator_c", "builtin_interfaces__rosidl_generator_py",
        "builtin_interfaces__rosidl_typesupport_c", "builtin_interfaces__rosidl_typesupport_fastrtps_c",
    )
]  # fmt: skip
HERE = Path(__file__).resolve().parent
PREFIX = Path(sys.prefix)


def compilers() -> tuple[str, str] | None:
    """C and C++ compiler, or None where one is missing."""
    found = tuple(shutil.which(name) for name in ("gcc", "g++"))
    return (found[0], found[1]) if found[0] and found[1] else None


def obstacle() -> str:
    """Why the package cannot be built here; '' where it can."""
    if compilers() is None:
        return "no C and C++ compiler is here"
    return "" if (PREFIX / "include" / "rosidl_runtime_c").is_dir() else f"rosidl's headers are not in {PREFIX}"


def build(folder: Path) -> None:
    """Generate, compile, and leave an importable package in `folder`."""
    os.environ["AMENT_PREFIX_PATH"] = str(PREFIX)
    generated = folder / "generated"
    generate(generated)
    compile_all(folder, generated / PACKAGE)


def generate(into: Path) -> None:
    """Sources of messages, type support and Python classes; the generators are called one by one, without plugins."""
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_typesupport_c.cli import GenerateCTypesupport
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport

    definitions = [path for path in sorted(HERE.glob("*/*")) if path.suffix in (".msg", ".srv")]
    files = [f"{HERE}:{path.relative_to(HERE)}" for path in definitions]
    supports = ["rosidl_typesupport_fastrtps_c"]
    for made in (
        GenerateC("c"),
        GenerateFastRTPSCTypesupport("fastrtps_c"),
        GenerateCTypesupport("c", typesupport_implementations=supports),
        GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]),
    ):
        made.generate(PACKAGE, list(files), [str(PREFIX / "share")], into / PACKAGE)


def compile_all(folder: Path, sources: Path) -> None:
    """Everything into the one extension module that rclpy loads for the package."""
    found = compilers()
    assert found is not None, "a C and a C++ compiler are needed"
    includes = [f"-I{path}" for path in (PREFIX / "include").iterdir()] + [f"-I{sources.parent}"]
    includes += [f"-I{PREFIX / 'include'}", f"-I{sysconfig.get_paths()['include']}"]
    includes += [f"-I{np.get_include()}"]
    objects = []
    for compiler, suffix in zip(found, (".c", ".cpp"), strict=True):
        for path in sorted(sources.rglob(f"*{suffix}")):
            objects.append(str(path.with_suffix(f"{suffix}.o")))
            subprocess.run(
                [
                    compiler,
                    "-c",
                    "-fPIC",
                    "-O0",
                    f'-DROS_PACKAGE_NAME="{PACKAGE}"',
                    *includes,
                    str(path),
                    "-o",
                    objects[-1],
                ],
                check=True,
            )
    library = f"{PACKAGE}_s__rosidl_typesupport_c{sysconfig.get_config_var('EXT_SUFFIX')}"
    linked = [f"-L{PREFIX / 'lib'}", f"-Wl,-rpath,{PREFIX / 'lib'}", *_LIBRARIES, "-o", str(sources / library)]
    subprocess.run([found[1], "-shared", *objects, *linked], check=True)
    package = folder / PACKAGE
    for path in (*sources.rglob("*.py"), sources / library):
        copy = package / path.relative_to(sources)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    (package / "__init__.py").touch()


if __name__ == "__main__":
    build(Path(sys.argv[1]))
