"""Pixels ↔ sensor_msgs/Image, CompressedImage and CameraInfo; headers are left to conversions.py.

Of the encodings of sensor_msgs/image_encodings.hpp those that cameras and depth sensors send: rgb8, bgr8, rgba8, bgra8,
mono8, mono16, 16UC1, 32FC1, in either byte order, with padded rows. Where cv_bridge is installed and gives the right
pixels, it reads messages instead, and so many more encodings can be read.
"""

from __future__ import annotations

import array
import functools
import importlib
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from meld_core.cameras.view import Calibration

ENCODINGS: dict[str, tuple[str, int]] = {
    "rgb8": ("u1", 3), "bgr8": ("u1", 3), "rgba8": ("u1", 4), "bgra8": ("u1", 4), "mono8": ("u1", 1),
    "mono16": ("u2", 1), "16UC1": ("u2", 1), "32FC1": ("f4", 1),
}  # fmt: skip
"""Encoding → numpy type of a value, channels of a pixel."""
_COLOUR = {"rgb8": (0, 1, 2), "rgba8": (0, 1, 2), "bgr8": (2, 1, 0), "bgra8": (2, 1, 0), "mono8": (0, 0, 0)}
"""Which channels are red, green, blue."""


def array_to_image(values: np.ndarray, encoding: str, padding: int = 0, big_endian: bool = False) -> Image:
    """An image message of (H, W) or (H, W, channels), without a header.

    Args:
        values: Of the encoding's type and channels.
        encoding: A key of ENCODINGS.
        padding: Bytes after each row.
        big_endian: Byte order of the values.

    Raises:
        ValueError: where type or channels do not fit the encoding.
    """
    kind, channels = ENCODINGS[encoding]
    values = values if values.ndim == 3 else values[..., None]
    if values.dtype != np.dtype(kind) or values.shape[2] != channels:
        raise ValueError(f"{values.dtype}{values.shape} are no pixels of encoding {encoding}")
    height, width, _ = values.shape
    rows = np.ascontiguousarray(values.astype(_typed(kind, big_endian))).view(np.uint8).reshape(height, -1)
    data = np.pad(rows, ((0, 0), (0, padding)))
    msg = Image(height=height, width=width, encoding=encoding, is_bigendian=int(big_endian), step=data.shape[1])
    msg.data = array.array("B", data.tobytes())
    return msg


def _typed(kind: str, big_endian: bool) -> str:
    return f"{'>' if big_endian else '<'}{kind}"


def array_from_image(msg: Image) -> np.ndarray:
    """Inverse of `array_to_image`: (H, W, channels), or (H, W) for one channel; padding at the ends of rows is cut off.

    Raises:
        ValueError: on another encoding, or where the bytes are not what size and step say.
    """
    if msg.encoding not in ENCODINGS:
        raise ValueError(f"an image of encoding '{msg.encoding}' came, expected one of {', '.join(ENCODINGS)}")
    kind, channels = ENCODINGS[msg.encoding]
    row = np.dtype(kind).itemsize * channels * msg.width
    if msg.height < 1 or msg.width < 1 or msg.step < row or len(msg.data) != msg.step * msg.height:
        raise ValueError(
            f"an image of {msg.width}x{msg.height} with step {msg.step} came with {len(msg.data)} bytes, "
            f"expected {max(msg.step, row) * msg.height}"
        )
    rows = np.frombuffer(msg.data, dtype=np.uint8).reshape(msg.height, msg.step)[:, :row]
    values = np.ascontiguousarray(rows).view(_typed(kind, bool(msg.is_bigendian))).astype(kind)
    return values.reshape(msg.height, msg.width, channels) if channels > 1 else values.reshape(msg.height, msg.width)


def pixels_of(msg: Image) -> np.ndarray:
    """The colours of an image message, (H, W, 3) uint8 RGB; grey becomes three equal channels.

    Raises:
        ValueError: where the message is malformed or holds no colours (16UC1 and 32FC1 are distances).
    """
    bridge = cv_bridge()
    if bridge is not None:
        return _by_bridge(bridge, msg)
    values = array_from_image(msg)
    if msg.encoding not in _COLOUR:
        raise ValueError(f"an image of encoding '{msg.encoding}' came, expected colours: {', '.join(_COLOUR)}")
    values = values if values.ndim == 3 else values[..., None]
    return np.ascontiguousarray(values[..., list(_COLOUR[msg.encoding])])


def _by_bridge(bridge: Any, msg: Image) -> np.ndarray:
    try:
        return np.ascontiguousarray(bridge.imgmsg_to_cv2(msg, desired_encoding="rgb8"))
    except Exception as error:  # cv_bridge raises its own and OpenCV's errors
        raise ValueError(f"an image of encoding '{msg.encoding}' came, cv_bridge cannot read it: {error}") from None


@functools.cache
def cv_bridge() -> Any:
    """A CvBridge, or None where it is not installed or does not give the pixels that it was given.

    cv_bridge is built for one version of OpenCV and numpy; with another it may crash on import or swap bytes.
    """
    try:
        bridge = importlib.import_module("cv_bridge").CvBridge()
        return bridge if all(_bridge_reads(bridge, *sample) for sample in _samples()) else None
    except Exception:  # whatever an extension of another numpy raises
        return None


def _samples() -> list[tuple[np.ndarray, str]]:
    colours = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    depth = np.array([[1, 256, 65535], [2, 3, 4]], np.uint16)
    return [(colours, "rgb8"), (depth, "16UC1"), (depth.astype(np.float32), "32FC1")]


def _bridge_reads(bridge: Any, values: np.ndarray, encoding: str) -> bool:
    msg = array_to_image(values, encoding, padding=4)
    return np.array_equal(np.asarray(bridge.imgmsg_to_cv2(msg, desired_encoding="passthrough")), values)


def pixels_of_compressed(msg: CompressedImage) -> np.ndarray:
    """Colours of a JPEG or PNG message, (H, W, 3) uint8 RGB. Raises ValueError where it is none."""
    data = np.frombuffer(msg.data, np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if pixels is None:
        raise ValueError(
            f"a compressed image of format '{msg.format}' and {data.size} bytes came, expected JPEG or PNG"
        )
    return np.ascontiguousarray(pixels[..., ::-1])


def compressed(pixels: np.ndarray, kind: str = "png") -> CompressedImage:
    """(H, W, 3) uint8 RGB as a PNG (lossless) or `jpeg` message, without a header."""
    good, data = cv2.imencode(f".{kind}", np.ascontiguousarray(pixels[..., ::-1]))
    if not good:
        raise ValueError(f"OpenCV cannot write {kind}")
    return CompressedImage(format=f"rgb8; {kind} compressed bgr8", data=array.array("B", data.tobytes()))


def camera_info(calibration: Calibration) -> CameraInfo:
    """Intrinsics as a message, without a header."""
    return CameraInfo(
        height=calibration.height,
        width=calibration.width,
        distortion_model=calibration.model,
        d=list(calibration.distortion),
        k=list(calibration.k),
        r=list(calibration.r),
        p=list(calibration.p),
    )
