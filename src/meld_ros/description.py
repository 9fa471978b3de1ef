"""The robot description of the bench that the settings describe, from urdf/insertion.urdf.xacro."""

from __future__ import annotations

from meld_core.config import Config
from meld_ros.share import share_dir


def robot_description(config: Config) -> str:
    """URDF of the arm, the table and the box at its mean pose. Raises ImportError where xacro is not installed."""
    import xacro

    task = config.task
    mappings = {
        "ports": str(task.ports),
        "port_spacing": str(task.port_spacing),
        "clearance": str(task.clearance),
        "box_xyz": " ".join(str(part) for part in task.box_center),
    }
    text: str = xacro.process_file(str(share_dir() / "urdf" / "insertion.urdf.xacro"), mappings=mappings).toxml()
    return text
