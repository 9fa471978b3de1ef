"""Image messages of every encoding and byte order and back, calibrations, and cv_bridge, good and bad."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from meld_core.types import Frame
from meld_ros import conversions as msgs
from meld_ros import images
from meld_ros.camera_node import CameraNode

from .conftest import Ros


@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, str]:
    encoding = draw(st.sampled_from(sorted(images.ENCODINGS)))
    kind, channels = images.ENCODINGS[encoding]
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    shape = (height, width, channels) if channels > 1 else (height, width)
    return draw(hnp.arrays(np.dtype(kind), shape)), encoding


@settings(max_examples=60, deadline=None)
@given(samples(), st.integers(0, 5), st.booleans())
def test_every_encoding_survives_padding_and_byte_order(
    sample: tuple[np.ndarray, str], padding: int, big_endian: bool
) -> None:
    values, encoding = sample
    msg = images.array_to_image(values, encoding, padding, big_endian)
    assert msg.step == values[0].nbytes + padding
    back = images.array_from_image(deserialize_message(serialize_message(msg), Image))
    assert (back.dtype, back.shape) == (values.dtype, values.shape)
    assert back.tobytes() == values.tobytes()


def test_a_big_endian_depth_image_by_hand() -> None:
    """258 is 0x0102: high byte first, then two bytes of padding."""
    msg = Image(height=1, width=1, encoding="16UC1", is_bigendian=1, step=4, data=[1, 2, 9, 9])
    assert images.array_from_image(msg).tolist() == [[258]]
    msg.is_bigendian = 0
    assert images.array_from_image(msg).tolist() == [[513]]


@pytest.mark.parametrize(
    ("encoding", "data", "colour"),
    [
        ("rgb8", [1, 2, 3], [1, 2, 3]),
        ("bgr8", [1, 2, 3], [3, 2, 1]),
        ("rgba8", [1, 2, 3, 4], [1, 2, 3]),
        ("bgra8", [1, 2, 3, 4], [3, 2, 1]),
        ("mono8", [7], [7, 7, 7]),
    ],
)
def test_the_colours_of_one_pixel(encoding: str, data: list[int], colour: list[int]) -> None:
    msg = Image(height=1, width=1, encoding=encoding, step=len(data), data=data)
    assert images.pixels_of(msg).tolist() == [[colour]]


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(3))))
@settings(max_examples=20, deadline=None)
def test_a_png_message_survives(pixels: np.ndarray) -> None:
    msg = deserialize_message(serialize_message(images.compressed(pixels)), CompressedImage)
    assert np.array_equal(images.pixels_of_compressed(msg), pixels)


def test_a_jpeg_keeps_red_red() -> None:
    red = np.full((16, 16, 3), (220, 30, 20), np.uint8)
    assert np.abs(images.pixels_of_compressed(images.compressed(red, "jpg")).astype(int) - red).max() < 8


@pytest.mark.parametrize("data", [[], [1, 2, 3]])
def test_what_is_no_compressed_image_is_one_sentence(data: list[int]) -> None:
    with pytest.raises(ValueError, match=f"format 'jpeg' and {len(data)} bytes came, expected JPEG or PNG"):
        images.pixels_of_compressed(CompressedImage(format="jpeg", data=data))


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Puts a module `cv_bridge` in place whose bridge decodes by a function of the test."""

    def put(decode: Any) -> None:
        module = types.ModuleType("cv_bridge")
        bridge = type("CvBridge", (), {"imgmsg_to_cv2": lambda self, msg, desired_encoding: decode(msg)})
        module.CvBridge = bridge  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "cv_bridge", module)
        images.cv_bridge.cache_clear()

    yield put
    images.cv_bridge.cache_clear()


def test_a_good_cv_bridge_is_used(install: Any) -> None:
    seen: list[str] = []

    def decode(msg: Image) -> np.ndarray:
        seen.append(msg.encoding)
        return images.array_from_image(msg) if msg.encoding != "yuv422" else np.full((1, 1, 3), 9, np.uint8)

    install(decode)
    assert images.pixels_of(Image(height=1, width=1, encoding="yuv422", step=2, data=[1, 2])).tolist() == [[[9, 9, 9]]]
    assert seen == ["rgb8", "16UC1", "32FC1", "yuv422"]


def test_a_cv_bridge_that_swaps_bytes_is_not_used(install: Any) -> None:
    install(lambda msg: images.array_from_image(msg).byteswap())
    assert images.cv_bridge() is None
    msg = images.array_to_image(np.full((1, 1, 3), (1, 2, 3), np.uint8), "rgb8")
    assert images.pixels_of(msg).tolist() == [[[1, 2, 3]]]


def test_a_cv_bridge_that_crashes_is_not_used(install: Any) -> None:
    def crash(msg: Image) -> np.ndarray:
        raise ImportError("numpy.core.multiarray failed to import")

    install(crash)
    assert images.cv_bridge() is None


CALIBRATION = """
image_width: 64
image_height: 48
camera_matrix: {data: [60, 0, 31.5, 0, 60, 23.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {data: [0.1, 0, 0, 0, 0]}
rectification_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {data: [60, 0, 31.5, 0, 0, 60, 23.5, 0, 0, 0, 1, 0]}
"""


def test_two_topics_are_stacked_with_the_main_stamp_beside_the_detector_view_and_intrinsics(
    ros: Ros, tmp_path: Path
) -> None:
    """External raw, wrist compressed and cropped to its right half; the detector sees a corner of the external one."""
    (tmp_path / "external.yaml").write_text(CALIBRATION)
    size = {f"{name}.{key}": value for name in ("camera", "wrist_camera") for key, value in
            (("width", 64), ("height", 48), ("stale_after", 10.0), ("frozen_time", 0.0))}  # fmt: skip
    ros.node(CameraNode, **{
        **size, "camera.device": "topic:external", "wrist_camera.device": "topic:wrist/compressed",
        "wrist_camera.crop": [32, 0, 32, 48], "detector_camera.crop": [0, 0, 8, 6], "sim.image_size": 16,
        "camera.calibration": str(tmp_path / "external.yaml"),
    })  # fmt: skip
    probe, seen, detector, infos = ros.probe(), list[Frame](), list[Frame](), list[CameraInfo]()
    msgs.subscription(probe, msgs.IMAGE, lambda msg: seen.append(msgs.image_from_msg(msg)))
    msgs.subscription(probe, msgs.DETECTOR_IMAGE, lambda msg: detector.append(msgs.image_from_msg(msg)))
    probe.create_subscription(CameraInfo, "camera/camera_info", infos.append, 10)
    external = probe.create_publisher(Image, "external", 10)
    wrist = probe.create_publisher(CompressedImage, "wrist/compressed", 10)
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, 32:] = 200

    def shown() -> bool:
        stamp = probe.get_clock().now().nanoseconds
        second = images.compressed(pixels)
        msgs.set_stamp(second.header, stamp)
        wrist.publish(second)
        external.publish(msgs.image_to_msg(Frame(np.full((48, 64, 3), 50, np.uint8), stamp, "")))
        return bool(seen and detector and infos)

    ros.until(shown, "a stacked picture")
    assert seen[0].pixels.shape == (32, 16, 3)
    assert np.unique(seen[0].pixels[:16]).tolist() == [50]
    assert np.unique(seen[0].pixels[16:]).tolist() == [200]
    assert (seen[0].frame_id, detector[0].frame_id) == ("camera_optical", "camera_optical")
    assert detector[0].pixels.shape == (6, 8, 3)
    assert detector[0].stamp == seen[0].stamp == msgs.stamp_of(infos[0].header)
    assert (infos[0].width, infos[0].k[0], infos[0].k[4]) == (16, 15.0, 20.0)
