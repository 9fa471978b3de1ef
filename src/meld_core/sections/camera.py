"""Settings of one camera."""

from __future__ import annotations

import dataclasses

from meld_core.settings import Section, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class CameraConfig(Section):
    """A camera, a video file or an image topic read by camera_node."""

    device: str = setting(
        "", "Number or path of a video device, a video file, or topic:NAME of images (NAME may end in /compressed)."
    )
    name: str = setting("camera", "Prefix of the optical frame: <name>_optical.")
    width: int = setting(640, "Capture width; a device or topic that gives another is refused.", unit="px", low=16)
    height: int = setting(480, "Capture height; a device or topic that gives another is refused.", unit="px", low=16)
    rate: float = setting(30.0, "Requested pictures per second.", unit="Hz", low=1.0, high=240.0)
    loop: bool = setting(False, "Start a video file again when it ends.")
    crop: tuple[int, int, int, int] = setting(
        (0, 0, 0, 0), "Part of the picture that is used: x, y, width, height; width 0: all of it.", unit="px", low=0
    )
    stale_after: float = setting(0.5, "A picture older than this is stale.", unit="s", low=0.02, high=10.0)
    frozen_after: int = setting(5, "At least this many equal pictures in a row ...", low=2, high=10000)
    frozen_time: float = setting(
        0.8, "... over this long mean a frozen camera; 0: never (a simulated one has no noise).", unit="s", low=0.0
    )
    latency: float = setting(0.0, "Exposure to arrival; stamps are set back by this.", unit="s", low=0.0, high=1.0)
    reconnect_every: float = setting(1.0, "An unplugged device is looked for this often.", unit="s", low=0.01)
    serial: str = setting("", "Serial number that the device must have; empty: any.")
    reference: str = setting("", "Saved picture of what it must see when it starts; empty: not compared.")
    reference_match: float = setting(0.5, "Least correlation with the reference picture.", low=-1.0, high=1.0)
    calibration: str = setting("", "YAML file of intrinsics as camera_calibration writes it; empty: none is published.")
    lock: bool = setting(True, "Switch automatic exposure and white balance off, where the device can.")
    exposure: float = setting(0.0, "Locked exposure in the device's units; 0: as it was at the start.", low=0.0)
    white_balance: float = setting(0.0, "Locked white balance; 0: as it was at the start.", unit="K", low=0.0)
