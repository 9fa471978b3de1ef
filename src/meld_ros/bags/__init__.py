"""Bags in the layout of rosbag2, by the library rosbags, which is optional: `pip install 'meld_ros[bags]'`."""

from __future__ import annotations

import importlib
from typing import Any


class BagError(RuntimeError):
    """This bag cannot be written or read; the text is one clear sentence."""


def library(module: str) -> Any:
    """A module of rosbags. Raises BagError where it is not installed."""
    try:
        return importlib.import_module(f"rosbags.{module}")
    except ImportError:
        raise BagError("bags need the package rosbags: pip install 'meld_ros[bags]'") from None
