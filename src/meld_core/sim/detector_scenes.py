"""Simulated pictures of the detector view under conditions of all kinds, labelled by the simulator.

The bench of `scene.py` with two more things that can be put anywhere: a coloured distractor and something that stands
between camera and LED. Lights are set anew for each scene. The arm is posed, not moved: no physics.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from meld_core.config import Config
from meld_core.detectors.labels import LabelError, Labels, join, make_labels
from meld_core.kinematics import ArmKinematics
from meld_core.sim.arm import NOMINAL_JOINTS, POINTING_DOWN
from meld_core.sim.engine import mujoco
from meld_core.sim.render import View, make_renderer
from meld_core.sim.scene import LED_DARK_GROUP, LED_LIT_GROUP, box_half_size, scene_xml
from meld_core.tasks import Task
from meld_core.types import Trial

_AWAY = (0.0, 0.0, -1.0)
"""Where things are that are not in a picture [m]."""
_NOISE = 2.0
"""Standard deviation of pixel noise, of 255."""
_LED_BELOW = 0.022
"""The LED's centre lies this far below the box's top face [m] (scene.py)."""


@dataclasses.dataclass(frozen=True)
class Condition:
    """How scenes are drawn."""

    lamps: tuple[float, float] = (0.75, 1.25)
    """Factor on all lights."""
    tint: float = 0.05
    """Spread of the light's colour: log gain per colour, standard deviation."""
    side: bool = False
    """One lamp only, from a random side."""
    yaw: tuple[float, float] = (0.0, 0.15)
    """Box heading, either way [rad]."""
    clear: float = 1.0
    """Share of scenes without anything in the way or lying about."""
    distractor: str = ""
    """Colour of what lies about: `green`, `any`."""
    occluded: bool = False
    """Something stands between camera and LED."""


CONDITIONS: dict[str, Condition] = {
    "as trained": Condition(),
    "unseen light": Condition(lamps=(0.25, 2.2), tint=0.2, side=True),
    "unseen pose": Condition(yaw=(0.3, 0.6)),
    "green distractor": Condition(clear=0.0, distractor="green"),
    "occluded": Condition(clear=0.0, occluded=True),
}
TRAINING = Condition(clear=0.6, distractor="any")
"""Some scenes with a coloured thing lying about, as anybody would collect; hardly ever a green one."""


class DetectorScenes:
    """Draws scenes."""

    def __init__(self, config: Config, seed: int) -> None:
        """Raises RenderError where this machine cannot render."""
        self._config, self._rng = config, np.random.default_rng(seed)
        xml = scene_xml(config).replace("</worldbody>", f"{_THINGS}</worldbody>")
        self._model = mujoco.MjModel.from_xml_string(xml)
        self._data = mujoco.MjData(self._model)
        self._kinematics = ArmKinematics()
        self._renderer = make_renderer(self._model, config.sim.renderer)
        self._diffuse = self._model.light_diffuse.copy()
        self._ambient = np.array(self._model.vis.headlight.ambient)
        self._directions = self._model.light_dir.copy()

    def picture(self, condition: Condition, lit: bool) -> np.ndarray:
        """One scene, with the LED lit or dark: (S, S, 3) uint8."""
        self._set_lights(condition)
        self._set_bench(condition)
        self._set_things(condition)
        pixels = self._render(lit)
        noisy = pixels + self._rng.normal(0.0, _NOISE, pixels.shape)
        return np.clip(noisy, 0, 255).astype(np.uint8)

    def recorded(self, task: Task, joints: np.ndarray, lit: bool) -> np.ndarray:
        """The detector view of a moment that was recorded: arm at (J,) [rad], box where the task has it."""
        data, half = self._data, task.box_yaw / 2
        self._set_lights(Condition(lamps=(1.0, 1.0), tint=0.0))
        data.mocap_pos[0], data.mocap_quat[0] = task.box_position, (math.cos(half), 0.0, 0.0, math.sin(half))
        data.mocap_pos[1:3] = _AWAY
        data.qpos[:] = joints
        return self._render(lit)

    def _render(self, lit: bool) -> np.ndarray:
        data = self._data
        for update in (mujoco.mj_kinematics, mujoco.mj_comPos, mujoco.mj_camlight):
            update(self._model, data)
        view = View("detector", self._config.sim.detector_size, LED_LIT_GROUP if lit else LED_DARK_GROUP)
        return self._renderer.render(data, [view])[0]

    def _set_lights(self, condition: Condition) -> None:
        rng, model = self._rng, self._model
        gain = math.exp(rng.uniform(*np.log(condition.lamps))) * np.exp(condition.tint * rng.standard_normal(3))
        model.light_diffuse[:] = self._diffuse * gain
        model.light_dir[:] = self._directions
        model.vis.headlight.ambient[:] = self._ambient * gain
        if condition.side:
            model.light_diffuse[1:] *= 0.0
            model.light_dir[0] = (*rng.uniform(-1, 1, 2), -0.6)

    def _set_bench(self, condition: Condition) -> None:
        """Box heading, and the tool somewhere over or in the ports."""
        rng, data = self._rng, self._data
        yaw = rng.uniform(*condition.yaw) * rng.choice((-1, 1))
        center = np.array(self._config.task.box_center)
        data.mocap_pos[0] = center
        data.mocap_quat[0] = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
        half = np.array(self._config.robot.workspace_size)[:2] / 2
        tool = center + np.array([*rng.uniform(-half, half), rng.uniform(-0.008, 0.03)])
        data.qpos[:] = self._kinematics.inverse(tool, np.array(POINTING_DOWN), np.array(NOMINAL_JOINTS))

    def _set_things(self, condition: Condition) -> None:
        rng, data = self._rng, self._data
        places, shown = np.array([_AWAY, _AWAY]), rng.uniform() >= condition.clear
        if condition.distractor and shown:
            beside = rng.choice((-1, 1)) * rng.uniform(0.018, 0.04)
            places[0] = self._on_front(0.002, beside, -_LED_BELOW + rng.uniform(-0.012, 0.014))
            self._model.geom("distractor").rgba[:3] = self._color(condition.distractor)
        if condition.occluded and shown:
            across, up = rng.uniform(-0.006, 0.006, 2)
            places[1] = self._on_front(rng.uniform(0.03, 0.07), across, up - 0.006)
            self._model.geom("occluder").rgba[:3] = rng.uniform(0.1, 0.9, 3) * (1.0, 0.8, 0.7)
        data.mocap_pos[1:3] = places

    def _color(self, name: str) -> np.ndarray:
        """Green as an LED's, or any colour with less green than red or blue."""
        if name == "green":
            return np.array([0.08, 1.0, 0.25]) * self._rng.uniform(0.6, 1.0)
        color = self._rng.uniform(0, 1, 3)
        color[1] = min(color[1], 0.8 * max(color[0], color[2]))
        return color

    def _on_front(self, out: float, across: float, up: float) -> np.ndarray:
        """A point before the box's front face, in the world [m]."""
        x, y = box_half_size(self._config.task)[0] + out, across
        w, _, _, z = self._data.mocap_quat[0]
        cos, sin = w * w - z * z, 2 * w * z
        turned = np.array([cos * x - sin * y, sin * x + cos * y, up])
        return np.asarray(self._data.mocap_pos[0] + turned)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()


_THINGS = """
    <body name="distractor" mocap="true" pos="0 0 -1">
      <geom name="distractor" class="visual" type="ellipsoid" size="0.004 0.007 0.007" rgba="0 1 0 1"/></body>
    <body name="occluder" mocap="true" pos="0 0 -1">
      <geom name="occluder" class="visual" type="ellipsoid" size="0.008 0.014 0.014" rgba="0.5 0.4 0.3 1"/></body>"""


def simulated_labels(
    config: Config, scenes: int, seed: int, training: bool, on_scene: Callable[[int], None] = lambda _: None
) -> Labels:
    """As many scenes with the LED lit as with it dark.

    Args:
        config: Of the bench.
        scenes: Of each kind per condition.
        seed: Of all scenes; training and scoring never share one.
        training: Scenes to train on, of one condition; else scenes of each of CONDITIONS.
        on_scene: Called with the number of pairs done.
    """
    conditions = {"training": TRAINING} if training else CONDITIONS
    drawn = DetectorScenes(config, 2 * seed + int(training))
    try:
        done = iter(range(1, 1 + scenes * len(conditions)))
        parts = [_labels(drawn, name, conditions[name], scenes, lambda: on_scene(next(done))) for name in conditions]
    finally:
        drawn.close()
    return join(parts)


def _labels(
    drawn: DetectorScenes, name: str, condition: Condition, scenes: int, on_scene: Callable[[], None]
) -> Labels:
    def pictures() -> Iterator[np.ndarray]:
        for _ in range(scenes):
            yield drawn.picture(condition, lit=False)
            yield drawn.picture(condition, lit=True)
            on_scene()

    taken = list(pictures())
    return make_labels(taken, [False, True] * scenes, range(2 * scenes), name, "simulator")


def labels_of_trials(config: Config, trials: Sequence[Trial]) -> Labels:
    """Recorded simulated trials, which hold no detector views: these are rendered again from the recorded joints.

    Raises:
        LabelError: where a trial is not simulated, or there is none.
    """
    drawn = DetectorScenes(config, 0)
    pictures, success, groups = [], [], []
    try:
        for number, trial in enumerate(trials):
            if not trial.meta.simulated or "success" not in trial.truth:
                raise LabelError(f"trial {trial.meta.id} was not simulated; label a bench's pictures by key")
            task = Task.from_json(trial.meta.task)
            for joints, lit in zip(trial.rows["joints"], trial.truth["success"], strict=True):
                pictures.append(drawn.recorded(task, joints, bool(lit)))
                success.append(bool(lit))
                groups.append(number)
    finally:
        drawn.close()
    return make_labels(pictures, success, groups, "recorded trials", "simulator (recorded trials rendered again)")
