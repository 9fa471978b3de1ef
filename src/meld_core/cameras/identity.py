"""Which camera is this? By its serial number, and by what it sees compared with a saved reference picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from meld_core.cameras.watch import CameraError, Identify
from meld_core.config import CameraConfig

_SYSFS = Path("/sys/class/video4linux")
_SMALL = (32, 24)
"""Pictures are compared at this size (width, height) [px]: where things stand, not their texture."""


def serial_of(device: str, sysfs: Path = _SYSFS) -> str:
    """Serial number of the USB device behind a video device ("0", "/dev/video0", "/dev/v4l/by-id/..."), or ''."""
    node = f"video{device}" if device.isdecimal() else Path(device).resolve().name
    folder = (sysfs / node / "device").resolve()
    for place in (folder, *list(folder.parents)[:4]):
        if (place / "serial").is_file():
            return (place / "serial").read_text(encoding="utf-8", errors="replace").strip()
    return ""


def check_serial(config: CameraConfig, sysfs: Path = _SYSFS) -> None:
    """Raise CameraError where the device does not have the serial number that the config wants."""
    if config.serial and (found := serial_of(config.device, sysfs)) != config.serial:
        raise CameraError(
            f"{config.device} has the serial number '{found}', the {config.name} camera is '{config.serial}': "
            "swapped? [settings: device, serial]"
        )


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation in [-1, 1] of two (H, W, 3) uint8 pictures, small and grey; brightness and contrast do not matter."""
    a, b = (_small(picture) for picture in (one, other))
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum() / scale) if scale > 0 else 0.0


def _small(pixels: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    small = cv2.GaussianBlur(cv2.resize(grey, _SMALL, interpolation=cv2.INTER_AREA).astype(np.float32), (3, 3), 0)
    return np.asarray(small - small.mean(), np.float32)


def read_picture(path: str) -> np.ndarray:
    """A picture file as (H, W, 3) uint8 RGB. Raises CameraError where there is none."""
    pixels = cv2.imread(path, cv2.IMREAD_COLOR) if Path(path).is_file() else None
    if pixels is None:
        raise CameraError(f"there is no picture {path}; save one with `meld camera reference`")
    return np.ascontiguousarray(pixels[..., ::-1])


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Save (H, W, 3) uint8 RGB as PNG. Raises CameraError where the disk refuses."""
    if not cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1])):
        raise CameraError(f"cannot write the picture {path}")


def png_of(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as the bytes of a PNG file: no pixel changes."""
    good, data = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
    if not good:
        raise CameraError(f"OpenCV cannot write a picture of {pixels.shape} as PNG")
    return bytes(data.tobytes())


def identifier(config: CameraConfig, others: Mapping[str, np.ndarray]) -> Identify | None:
    """Compares pictures with the camera's reference picture; None where it has none.

    Args:
        config: Of the camera.
        others: Reference pictures of the other cameras by name, to say with which it was swapped.

    Raises:
        CameraError: where the reference picture cannot be read.
    """
    if not config.reference:
        return None
    reference = read_picture(config.reference)

    def identify(pixels: np.ndarray) -> str:
        match = likeness(pixels, reference)
        nearest, best = max(
            ((n, likeness(pixels, p)) for n, p in others.items()), key=lambda x: x[1], default=("", -1.0)
        )
        if match >= config.reference_match and match >= best:
            return ""
        swapped = f"; it looks like the {nearest} camera ({best:.2f}): swapped?" if best > match else ""
        return (
            f"{config.device} does not see what the {config.name} camera must see: correlation {match:.2f} with "
            f"{config.reference}, {config.reference_match:.2f} would do{swapped}"
        )

    return identify


def video_devices(sysfs: Path = _SYSFS) -> list[tuple[str, str, str]]:
    """Path, name and serial number of every video device."""
    found = []
    for folder in sorted(sysfs.glob("video*")):
        name = (folder / "name").read_text(encoding="utf-8").strip() if (folder / "name").is_file() else ""
        found.append((f"/dev/{folder.name}", name, serial_of(folder.name.removeprefix("video"), sysfs)))
    return found
