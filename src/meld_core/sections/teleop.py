"""Settings of a person's part: how a marker, a joystick or keys move the arm."""

from __future__ import annotations

import dataclasses

from meld_core.settings import Section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeleopConfig(Section):
    """What a person's hand becomes: bounded steps through the gate, in state TELEOP."""

    speed: float = setting(1.0, "Largest step, as a share of robot.step_size.", low=0.05, high=1.0)
    tolerance: float = setting(0.0015, "A goal this close is reached.", unit="m", low=0.0002, high=0.02)
    patience: float = setting(
        0.15, "A drag or a joystick that says nothing for this long is held.", unit="s", low=0.02, high=100.0
    )
    lost_after: float = setting(
        1.0, "A drag that says nothing for this long is over (RViz speaks every 0.25 s).", unit="s", low=0.1, high=100.0
    )
    beat: float = setting(0.04, "How often a moving client says that it lives.", unit="s", low=0.01, high=0.1)
    key_step: float = setting(0.010, "How far one key moves the tool.", unit="m", low=0.001, high=0.05)
    joy_axes: tuple[int, int, int] = setting(
        (1, 0, 4), "Axes of the joystick for x, y and z (sensor_msgs/Joy).", low=0, high=31
    )
    joy_deadzone: float = setting(0.15, "Smaller deflections are none.", low=0.0, high=0.9)
    joy_enable: int = setting(4, "Button that must be held while the joystick moves the arm.", low=0, high=31)
    joy_buttons: tuple[str, ...] = setting(
        ("reset_done", "stop", "label_failure", "label_success"), "Requests of the buttons 0, 1, ...; '' for none."
    )
    trail: int = setting(400, "Points of the tool's trail in RViz.", low=2, high=10000)
