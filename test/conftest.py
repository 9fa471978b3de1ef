"""What every test shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""Before torch is imported anywhere: tiny networks only wait for other threads, on a busy machine for seconds."""

UNDER_COLCON = ("test_installed.py", "test_config.py", "test_trial.py", "test_types.py")
"""`colcon test` asks whether an installed package is whole; `make test` runs everything."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out all but UNDER_COLCON where colcon has started pytest, which it tells by the prefix of its report."""
    under_colcon = config.option.junitprefix == "meld_ros"
    return True if under_colcon and collection_path.suffix == ".py" and not _is_small(collection_path) else None


def _is_small(path: Path) -> bool:
    return path.name in (*UNDER_COLCON, "conftest.py", "__init__.py")
