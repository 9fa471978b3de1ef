"""Pictures of the simulation by EGL, OSMesa or mujoco-warp (ray tracing on the CPU, without any OpenGL)."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from meld_core.sim.engine import mujoco

BACKENDS = ("egl", "osmesa", "warp")
"""Tried in this order."""
_PROBED = "MELD_RENDERER"
"""Environment variable that hands the result of the probe to child processes."""
_MESA_THREADS = "LP_NUM_THREADS"
_PROBE_TIMEOUT = 180.0
"""[s]; the first use of mujoco-warp compiles its kernels."""


class RenderError(RuntimeError):
    """No picture can be made on this machine; its text is one clear sentence."""


@dataclasses.dataclass(frozen=True)
class View:
    """One picture to take."""

    camera: str
    size: int
    """Height and width [px]."""
    group: int | None = None
    """A geom group that is drawn besides the visible groups 0 to 2."""


@dataclasses.dataclass(frozen=True)
class Quality:
    """What OpenGL spends on a picture."""

    samples: int
    """Antialiasing samples per pixel."""
    shadows: int
    """Edge of the shadow map [px]; 0 draws no shadow."""
    slices: int
    """Facets around a cylinder."""
    buffer: int
    """Edge of the largest picture [px]."""


FAST = Quality(samples=0, shadows=0, slices=14, buffer=512)
"""For steps: 30 times as fast as FINE."""
FINE = Quality(samples=4, shadows=4096, slices=32, buffer=1024)
"""For people."""


class Renderer(Protocol):
    """Takes pictures of one model."""

    def render(self, data: Any, views: Sequence[View]) -> list[np.ndarray]:
        """One (size, size, 3) uint8 picture per view, of the poses in `data`."""

    def close(self) -> None:
        """Free the graphics context. Safe to call twice."""


def make_renderer(model: Any, kind: str, quality: Quality = FAST) -> Renderer:
    """A renderer of the given back end, or of the first that works for `auto`. mujoco-warp has one quality only.

    Raises:
        RenderError: where the back end does not work on this machine.
    """
    backend = find_backend() if kind == "auto" else kind
    try:
        return WarpRenderer(model) if backend == "warp" else GlRenderer(model, backend, quality)
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RenderError(f"cannot render with '{backend}': {reason[:160]} [setting: sim.renderer]") from None


def find_backend() -> str:
    """The first back end that makes a picture here; probed once per process tree, each in a process of its own.

    A probe of its own, because a failing OpenGL import cannot be undone and a broken driver may crash.

    Raises:
        RenderError: where none works.
    """
    known = os.environ.get(_PROBED, "")
    if known in BACKENDS:
        return known
    for backend in BACKENDS:
        if _works(backend):
            os.environ[_PROBED] = backend
            return backend
    raise RenderError(
        "no way to render: neither EGL, OSMesa nor mujoco-warp works here; "
        "`apt-get install libegl1 libgl1` or `pip install mujoco-warp` helps"
    )


def _works(backend: str) -> bool:
    command = [sys.executable, "-c", f"from meld_core.sim.render import probe; probe({backend!r})"]
    paths = os.pathsep.join(p for p in sys.path if p)
    environment = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    try:
        result = subprocess.run(
            command, env={**environment, "PYTHONPATH": paths}, capture_output=True, timeout=_PROBE_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


def probe(backend: str) -> None:
    """Render a white ball; raises where that fails or the picture is black."""
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><light pos="0 0 3"/><camera name="c" pos="0 0 2"/><geom size="0.5"/></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = make_renderer(model, backend)
    picture = renderer.render(data, [View("c", 32)])[0]
    renderer.close()
    if not picture.any():
        raise RenderError(f"'{backend}' renders black")


def _set_quality(model: Any, quality: Quality) -> None:
    """MjrContext reads these when it is made."""
    settings = model.vis.quality
    settings.offsamples, settings.shadowsize = quality.samples, quality.shadows
    settings.numslices, settings.numstacks, settings.numquads = quality.slices, quality.slices // 2, 1
    model.vis.global_.offwidth = model.vis.global_.offheight = quality.buffer


def _release_egl() -> None:
    egl = importlib.import_module("mujoco.egl")
    egl.EGL.eglMakeCurrent(egl.EGL_DISPLAY, egl.EGL.EGL_NO_SURFACE, egl.EGL.EGL_NO_SURFACE, egl.EGL.EGL_NO_CONTEXT)


def _release_osmesa() -> None:
    osmesa = importlib.import_module("OpenGL.osmesa")
    osmesa.OSMesaMakeCurrent(None, None, 0, 0, 0)


_RELEASE = {"egl": _release_egl, "osmesa": _release_osmesa}


@contextlib.contextmanager
def _no_worker_threads() -> Iterator[None]:
    """Mesa's software rasteriser reads this once; at 64 px its worker threads cost more than they give."""
    before = os.environ.get(_MESA_THREADS)
    os.environ.setdefault(_MESA_THREADS, "0")
    try:
        yield
    finally:
        if before is None:
            del os.environ[_MESA_THREADS]


class GlRenderer:
    """OpenGL into an off-screen buffer, by EGL or OSMesa."""

    def __init__(self, model: Any, backend: str, quality: Quality = FAST) -> None:
        self._model, self._release = model, _RELEASE[backend]
        _set_quality(model, quality)
        with _no_worker_threads():
            self._gl = importlib.import_module(f"mujoco.{backend}").GLContext(quality.buffer, quality.buffer)
            self._gl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + 20)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = quality.shadows > 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        atexit.register(self.close)  # left open, the context complains when the interpreter takes EGL down
        self._option = mujoco.MjvOption()
        self._perturbation = mujoco.MjvPerturb()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._release()

    def render(self, data: Any, views: Sequence[View]) -> list[np.ndarray]:
        """One (size, size, 3) uint8 picture per view."""
        if self._gl is None:
            raise RenderError("the renderer is closed")
        self._gl.make_current()
        pictures = [self._picture(data, view) for view in views]
        self._release()  # the next call may come from another thread
        return pictures

    def _picture(self, data: Any, view: View) -> np.ndarray:
        self._option.geomgroup[3:] = 0
        if view.group is not None:
            self._option.geomgroup[view.group] = 1
        self._camera.fixedcamid = self._model.camera(view.camera).id
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self._model, data, self._option, self._perturbation, self._camera, everything, self._scene
        )
        rectangle = mujoco.MjrRect(0, 0, view.size, view.size)
        mujoco.mjr_render(rectangle, self._scene, self._context)
        pixels = np.empty((view.size, view.size, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, rectangle, self._context)
        return np.ascontiguousarray(pixels[::-1])  # OpenGL's first row is the lowest

    def close(self) -> None:
        """Free the context. Safe to call twice."""
        if self._gl is not None:
            atexit.unregister(self.close)
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = None


class WarpRenderer:
    """Ray tracing on the CPU by mujoco-warp: needs no graphics library at all."""

    def __init__(self, model: Any) -> None:
        import warp

        warp.config.log_level = warp.LOG_ERROR  # else it tells of a missing CUDA driver
        import mujoco_warp

        self._api, self._warp, self._mj = mujoco_warp, warp, model
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        with warp.ScopedDevice("cpu"):
            self._model, self._data = mujoco_warp.put_model(model), mujoco_warp.put_data(model, data)
        self._contexts: dict[tuple[View, ...], Any] = {}

    def render(self, data: Any, views: Sequence[View]) -> list[np.ndarray]:
        """One (size, size, 3) uint8 picture per view."""
        if self._model is None:
            raise RenderError("the renderer is closed")
        for name in ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir"):
            target = getattr(self._data, name)
            target.assign(np.asarray(getattr(data, name), np.float32).reshape(target.numpy().shape))
        pictures: dict[View, np.ndarray] = {}
        with self._warp.ScopedDevice("cpu"):
            for group in {view.group: None for view in views}:
                pictures |= self._trace(tuple(dict.fromkeys(view for view in views if view.group == group)))
        return [pictures[view] for view in views]

    def _trace(self, views: tuple[View, ...]) -> dict[View, np.ndarray]:
        """Views that draw the same geom groups, in one pass."""
        context = self._contexts.get(views) or self._new_context(views)
        self._api.refit_bvh(self._model, self._data, context)
        self._api.render(self._model, self._data, context)
        packed = context.rgb_data.numpy()[0].astype("<u4").view(np.uint8).reshape(-1, 4)[:, 2::-1]  # 0xAARRGGBB
        order = sorted(views, key=self._camera_number)  # as the context lays out its cameras
        ends = np.cumsum([view.size**2 for view in order])[:-1]
        parts = zip(order, np.split(packed, ends), strict=True)
        return {view: np.ascontiguousarray(part.reshape(view.size, view.size, 3)) for view, part in parts}

    def _camera_number(self, view: View) -> int:
        return int(self._mj.camera(view.camera).id)

    def _new_context(self, views: tuple[View, ...]) -> Any:
        order = sorted(views, key=self._camera_number)
        extra = order[0].group
        self._contexts[views] = self._api.create_render_context(
            self._mj,
            cam_res=[(view.size, view.size) for view in order],
            render_rgb=True,
            render_depth=False,
            render_seg=False,
            enabled_geom_groups=[0, 1, 2] if extra is None else [0, 1, 2, extra],
            cam_active=[view.camera for view in order],
            render_skybox=True,
        )
        return self._contexts[views]

    def close(self) -> None:
        """Drop the model. Safe to call twice."""
        self._contexts.clear()
        self._model = self._data = None
