"""How fast the simulated bench runs on one core, in control steps per second of CPU time.

Usage: python benchmarks/sim.py [--steps 300] [--renderer auto|egl|osmesa|warp]

CPU time, not wall time: the figure does not depend on what else the machine does, and one process per core scales.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

from meld_core.config import Config, load_config
from meld_core.kinematics import ArmKinematics
from meld_core.rewards import make_detector
from meld_core.sim.arm import POINTING_DOWN
from meld_core.sim.render import find_backend
from meld_core.sim.robot import SimRobot
from meld_core.tasks import make_tasks


def per_second(steps: int, act: Callable[[], object]) -> float:
    """Calls per second of CPU time; the median of three rounds."""
    rounds = []
    for _ in range(3):
        begin = time.process_time()
        for _ in range(steps):
            act()
        rounds.append(steps / (time.process_time() - begin))
    return float(np.median(rounds))


def stepper(config: Config, look: bool) -> tuple[SimRobot, Callable[[], None]]:
    """A robot and one random control step of it, with or without pictures and detector."""
    robot, detector, rng = SimRobot(config), make_detector(config.reward), np.random.default_rng(0)
    robot.connect()
    robot.set_task(make_tasks(config.task).sample("train", 0))
    robot.reset()

    def step() -> None:
        robot.apply(rng.uniform(-1, 1, 3).astype(np.float32))
        robot.wait()
        state = robot.observe()
        if look:
            detector(robot.views(), state)

    step()
    return robot, step


def kinematics() -> Callable[[], object]:
    """One inverse-kinematics target, a step away from the last."""
    arm, rng, down = ArmKinematics(), np.random.default_rng(0), np.array(POINTING_DOWN)
    seed = arm.inverse(np.array([0.30, 0.0, 0.08]), down)
    return lambda: arm.inverse(np.array([0.30, 0.0, 0.08]) + rng.uniform(-0.02, 0.02, 3), down, seed)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--renderer", default="auto", choices=("auto", "egl", "osmesa", "warp"))
    given = parser.parse_args()
    config = load_config(overrides=[f"sim.renderer={given.renderer}"])
    print(f"renderer: {find_backend() if given.renderer == 'auto' else given.renderer}")
    print(f"{'inverse kinematics [targets/s]':<58}{per_second(given.steps, kinematics()):8.0f}")
    for look, label in ((False, "kinematics + physics"), (True, "the same + two policy views + detector view + LED")):
        robot, step = stepper(config, look)
        print(f"{label + ' [control steps/s]':<58}{per_second(given.steps, step):8.0f}")
        robot.close()


if __name__ == "__main__":
    main()
