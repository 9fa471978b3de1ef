"""MuJoCo, imported in a way that never fails for want of a graphics library.

With MUJOCO_GL=egl or osmesa on a machine without that library, `import mujoco` itself raises. We import it with
graphics switched off and leave OpenGL to `meld_core.sim.render`, which picks a back end by itself.
"""

from __future__ import annotations

import os
from typing import Any


def _import_mujoco() -> Any:
    before = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        import mujoco
    finally:
        if before is None:
            del os.environ["MUJOCO_GL"]
        else:
            os.environ["MUJOCO_GL"] = before
    return mujoco


mujoco = _import_mujoco()
