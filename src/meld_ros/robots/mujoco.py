"""The simulation bridge: SimRobot as a robot that robot_node hosts."""

from __future__ import annotations

import threading
import time

import numpy as np

from meld_core.config import Config
from meld_core.sim.arm import NOMINAL_JOINTS
from meld_core.sim.motion import SLICE
from meld_core.sim.robot import SimRobot
from meld_core.tasks import Task
from meld_core.types import Frame, RobotState

_MOST_SLICES = 10
"""In realtime simulated at a time; what goes beyond is left out."""


class MujocoRobot:
    """In lockstep `wait` simulates one control period; in realtime a thread of its own simulates as time passes.

    In realtime stamps are the system clock's, as those of a camera and an arm are: whoever asks how old a picture is
    need not know that it was simulated. Any thread may call `hold`; a lock keeps it apart from the physics.
    """

    def __init__(self, config: Config) -> None:
        self._realtime = config.robot.mode == "realtime"
        self._sim = SimRobot(config, time.time_ns if self._realtime else None)
        self.limits = self._sim.limits
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._ready = self._has_task = self._box_moved = False
        self._thread = threading.Thread(target=self._run, name="physics", daemon=True)

    def _run(self) -> None:
        """As many slices as time has passed; a simulation that was held up for long does not run after it."""
        simulated = time.monotonic()
        while not self._stopping.wait(max(0.0, simulated + SLICE - time.monotonic())):
            due = int((time.monotonic() - simulated) / SLICE)
            simulated += due * SLICE
            with self._lock:
                for _ in range(min(due, _MOST_SLICES) if self._ready else 0):
                    self._sim.go_on()

    def connect(self) -> None:
        """Build model and renderer."""
        self._sim.connect()
        if self._realtime:
            self._thread.start()

    def set_task(self, task: Task) -> None:
        """Put the box where the task wants it."""
        with self._lock:
            self._sim.set_task(task)
            self._has_task = self._box_moved = True

    def reset(self) -> None:
        """Arm to its start pose."""
        with self._lock:
            self._sim.reset()
            self._box_moved = False
            self._ready = True

    def begin_here(self, episode: bool) -> None:
        """Go on with the arm where a person left it; out of the way of a box that was put elsewhere."""
        with self._lock:
            if self._box_moved:
                self._sim.place(np.array(NOMINAL_JOINTS))
                self._box_moved = False
            self._sim.begin_here(episode)
            self._ready = True

    def park(self) -> None:
        """Arm to its rest pose."""
        with self._lock:
            self._sim.park()
            self._ready = True

    def observe(self) -> RobotState:
        """Joints and tool pose."""
        with self._lock:
            return self._sim.observe()

    def apply(self, action: np.ndarray) -> np.ndarray:
        """Start one control period."""
        with self._lock:
            return self._sim.apply(action)

    def wait(self) -> None:
        """Lockstep: simulate one control period."""
        if not self._realtime:
            with self._lock:
                self._sim.wait()

    def hold(self) -> None:
        """Keep the joints where they are; nothing to keep before the first reset."""
        with self._lock:
            if self._ready:
                self._sim.hold()

    def look(self) -> tuple[RobotState, dict[str, Frame], dict[str, float]]:
        """State, pictures and the simulator's knowledge at one and the same stamp."""
        with self._lock:
            return self._sim.observe(), self._sim.views(), self._sim.truth() if self._has_task else {}

    def close(self, park: bool = True) -> None:
        """Stop the physics and free the model."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)
        with self._lock:
            self._ready = False
            self._sim.close()
