"""SimRobot: the simulated bench behind the Robot contract, with its cameras and the simulator's truth."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np

from meld_core.arm.joint_path import PathPlanner, check_reach, clamped_step, start_position
from meld_core.config import Config
from meld_core.kinematics import ArmKinematics
from meld_core.sim.arm import NOMINAL_JOINTS, POINTING_DOWN, arm_limits
from meld_core.sim.engine import mujoco
from meld_core.sim.motion import SLICE, Ramp
from meld_core.sim.render import FINE, Renderer, View, make_renderer
from meld_core.sim.scene import LED_DARK_GROUP, LED_LIT_GROUP, check_bench, scene_xml
from meld_core.tasks import SPLITS, Task, in_port, seated, shaped_reward
from meld_core.types import Frame, RobotState

_ENTERED = 0.003
"""A tip this deep has entered a port [m]."""


class SimRobot:
    """One simulated arm and bench. The same calls give bit-identical states and pictures.

    All randomness is drawn from the task's split and seed and the number of resets since `set_task`; every reset
    begins another episode, and with it the live port may move.

    Args:
        config: Of the run.
        clock: Realtime: what stamps are of [ns], as a camera's are; None: simulated time.
    """

    def __init__(self, config: Config, clock: Callable[[], int] | None = None) -> None:
        """Cheap; `connect` builds the model. Raises ConfigError where the settings make no workable bench."""
        check_bench(config)
        self.limits = arm_limits(config)
        self._config, self._clock = config, clock
        self._period = round(config.robot.control_period * 1e9)
        self._stamp = self._period
        self._ramp = Ramp(config)
        self._brightness = 1.0
        self._task: Task | None = None
        self._resets = 0
        self._rng = np.random.default_rng(0)
        self._delayed: collections.deque[np.ndarray] = collections.deque()
        self._renderer: Renderer | None = None
        self._data: Any = None
        self._fine: Renderer | None = None
        self._views: dict[str, Frame] = {}

    def connect(self) -> None:
        """Build the model and the renderer.

        Raises:
            RenderError: where this machine cannot render.
            ConfigError: where the arm cannot reach the whole workspace.
        """
        if self._data is not None:
            return
        self._model = mujoco.MjModel.from_xml_string(scene_xml(self._config))
        self._kinematics = ArmKinematics()
        check_reach(self._kinematics, self.limits)
        self._planner = PathPlanner(self.limits, self._kinematics)
        self._tool = self._model.site("tool").id
        self._external = self._model.camera("external").id
        self._external_home = self._model.cam_pos[self._external].copy()
        self._renderer = make_renderer(self._model, self._config.sim.renderer)
        self._data = mujoco.MjData(self._model)
        self._goal = np.array(NOMINAL_JOINTS)
        self._data.qpos[:] = self._data.ctrl[:] = self._goal
        self._see()

    def set_task(self, task: Task) -> None:
        """Put the box where the task wants it and count resets from zero. The arm stays; `reset` follows."""
        data = self._connected()
        if len(task.ports) != self._config.task.ports:
            raise ValueError(f"task '{task.id}' has {len(task.ports)} ports, the box has {self._config.task.ports}")
        self._task, self._resets = task, 0
        data.mocap_pos[0] = task.box_position
        data.mocap_quat[0] = (np.cos(task.box_yaw / 2), 0.0, 0.0, np.sin(task.box_yaw / 2))
        rng = np.random.default_rng([SPLITS.index(task.split), task.seed, 1])
        sim = self._config.sim
        self._model.cam_pos[self._external] = self._external_home + sim.camera_jitter * rng.uniform(-1, 1, 3)
        self._brightness = 1.0 + sim.light_jitter * float(rng.uniform(-1, 1))
        self._see()

    def reset(self) -> None:
        """Arm to its start pose, with noise; time advances by one control period."""
        start = start_position(self._config, self.limits, self._current_task(), self._resets)
        self._next_episode()
        self.place(self._kinematics.inverse(start, np.array(POINTING_DOWN)))

    def begin_here(self, episode: bool) -> None:
        """Go on with the arm where it is, at a new stamp; `episode`: another one begins, as by a reset."""
        if episode:
            self._next_episode()
        self.hold()
        self._advance(self._period)
        self._views = {}

    def park(self) -> None:
        """Arm to its rest pose; time advances by one control period."""
        self.place(np.array(self._config.driver.rest_joints))

    def _next_episode(self) -> None:
        task = self._current_task()
        self._rng = np.random.default_rng([SPLITS.index(task.split), task.seed, 3, self._resets])
        self._resets += 1

    def place(self, joints: np.ndarray) -> None:
        """Arm to these joints (J,) [rad]; time advances by one control period."""
        data = self._connected()
        position, orientation = data.mocap_pos.copy(), data.mocap_quat.copy()
        mujoco.mj_resetData(self._model, data)
        data.mocap_pos[:], data.mocap_quat[:] = position, orientation
        data.qpos[:] = data.ctrl[:] = self._goal = joints
        self._delayed.clear()
        self._ramp.begin(data.ctrl)
        self._advance(self._period)
        self._see()

    def observe(self) -> RobotState:
        """Joints and tool pose at the current stamp."""
        data = self._connected()
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, data.site_xmat[self._tool])
        return RobotState(
            joints=data.qpos.copy(),
            velocities=data.qvel.copy(),
            tool_position=data.site_xpos[self._tool].copy(),
            tool_orientation=quaternion[[1, 2, 3, 0]],
            stamp=self._stamp,
        )

    def apply(self, action: np.ndarray) -> np.ndarray:
        """Aim the tool at its measured position plus `action` steps, inside the workspace.

        Args:
            action: (3,) in [-1, 1], tool displacement along base_link's axes; 1 is `robot.step_size`.

        Returns:
            The command after clamping to [-1, 1] and to the workspace, (3,) float32.

        Raises:
            ValueError: on another shape or numbers that are not finite.
        """
        data = self._connected()
        command = np.asarray(action, dtype=np.float32)
        if command.shape != (3,) or not np.isfinite(command).all():
            raise ValueError(f"an action is 3 finite numbers, got {command.tolist()}")
        tip, step = data.site_xpos[self._tool], self._config.robot.step_size
        command, _ = clamped_step(command, tip, self.limits)
        self._aim(tip + self._after_delay(command).astype(np.float64) * step)
        return command

    def _after_delay(self, command: np.ndarray) -> np.ndarray:
        """The command of `sim.action_delay` steps ago; none was given before an episode's first."""
        self._delayed.append(command)
        late = len(self._delayed) > self._config.sim.action_delay
        return self._delayed.popleft() if late else np.zeros_like(command)

    def wait(self) -> None:
        """Simulate one control period: joint targets go from where they are to the goal."""
        self._ramp.begin(self._connected().ctrl)
        while not self._ramp.over:
            self._slide()
        self._advance(self._period)
        self._see()

    def go_on(self) -> None:
        """Realtime: simulate the next 10 ms of the way to where the arm was aimed last; there it stays."""
        self._slide()
        self._advance(round(SLICE * 1e9))
        self._see()

    def _slide(self) -> None:
        data = self._connected()
        mujoco.mj_step(self._model, data, self._ramp.slide(data.ctrl, self._goal))

    def _advance(self, duration: int) -> None:
        """Time goes on, by `duration` [ns] or as the clock says; never back."""
        self._stamp = self._stamp + duration if self._clock is None else max(self._stamp + 1, self._clock())

    def hold(self) -> None:
        """Keep the current joint positions, torque on."""
        data = self._connected()
        self._delayed.clear()
        self._goal = data.qpos.copy()
        self._ramp.begin(data.ctrl)

    def views(self) -> dict[str, Frame]:
        """`policy`: the views of `sim.views` from top to bottom; `detector`: the link LED. Same stamp as `observe`."""
        data = self._connected()
        if not self._views:
            sim = self._config.sim
            led = View("detector", sim.detector_size, self._led_group())
            assert self._renderer is not None
            *policy, detector = self._renderer.render(data, [*(View(name, sim.image_size) for name in sim.views), led])
            stacked = self._disturbed(np.concatenate(policy))
            self._views = {
                "policy": Frame(stacked, self._stamp, "policy_optical"),
                "detector": Frame(detector, self._stamp, "detector_optical"),
            }
        return self._views

    def picture(self, camera: str, size: int) -> np.ndarray:
        """One (size, size, 3) uint8 picture for people, at most 1024 px: antialiased, with shadows, slow.

        Cameras are `bench`, `external`, `wrist`, and `detector`, which alone shows the link LED.
        """
        data = self._connected()
        if self._fine is None:
            self._fine = make_renderer(self._model, self._config.sim.renderer, FINE)
        return self._fine.render(data, [View(camera, size, self._led_group() if camera == "detector" else None)])[0]

    def truth(self) -> dict[str, float]:
        """What only the simulator knows: `success`, `shaped` (in [0, 1]) and `port` (entered by 3 mm, else -1).

        Where the live port may move between episodes: `live`, the one of this episode.
        """
        task, config = self._current_task(), self._config.task
        tip = self._connected().site_xpos[self._tool]
        entered = [port for port in range(config.ports) if in_port(tip, task, port, config, _ENTERED)]
        return {
            "success": float(self._seated()),
            "shaped": float(shaped_reward(tip, task, self._live(), config)),
            "port": float(entered[0]) if entered else -1.0,
            **({"live": float(self._live())} if task.later_live else {}),
        }

    def close(self, park: bool = True) -> None:
        """Free model and renderer. Safe to call twice."""
        for renderer in (self._renderer, self._fine):
            if renderer is not None:
                renderer.close()
        self._renderer = self._fine = self._data = self._task = None
        self._views = {}

    def _connected(self) -> Any:
        if self._data is None:
            raise RuntimeError("the simulated robot is not connected; call connect() first")
        return self._data

    def _current_task(self) -> Task:
        if self._task is None:
            raise RuntimeError("the simulated robot has no task; call set_task() first")
        return self._task

    def _aim(self, target: np.ndarray) -> None:
        self._goal = self._planner.step(target, self._connected().qpos)
        self._ramp.begin(self._connected().ctrl)

    def _see(self) -> None:
        """Bring poses of sites and cameras up to the joints: mj_step leaves them one physics step behind."""
        data = self._connected()
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_comPos(self._model, data)
        mujoco.mj_camlight(self._model, data)
        self._views = {}

    def _seated(self) -> bool:
        task = self._current_task()
        return bool(seated(self._connected().site_xpos[self._tool], task, self._live(), self._config.task))

    def _live(self) -> int:
        """The port that is live in the current episode; before the first reset the first episode's."""
        return self._current_task().live_in(max(0, self._resets - 1))

    def _led_group(self) -> int:
        return LED_LIT_GROUP if self._task is not None and self._seated() else LED_DARK_GROUP

    def _disturbed(self, pixels: np.ndarray) -> np.ndarray:
        """Brightness and noise of `sim.light_jitter` and `sim.image_noise`."""
        noise = self._config.sim.image_noise
        if self._brightness == 1.0 and noise == 0.0:
            return pixels
        bright = pixels * self._brightness + (self._rng.normal(0.0, noise, pixels.shape) if noise else 0.0)
        return np.clip(np.rint(bright), 0, 255).astype(np.uint8)
