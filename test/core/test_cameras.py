"""What can be wrong with a camera, and what is made of its pictures: by hand-made pictures and numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from meld_core.cameras.identity import check_serial, identifier, likeness, serial_of, write_picture
from meld_core.cameras.view import Calibration, crop, policy_view, read_calibration, squeeze, view_calibration
from meld_core.cameras.watch import CameraError, CameraWatch
from meld_core.config import CameraConfig, ConfigError

SMALL = {"device": "7", "width": 16, "height": 16}


def picture(seed: int, size: int = 64) -> np.ndarray:
    """Coarse random blocks: something to recognise."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 200, (8, 8, 3)), np.ones((size // 8, size // 8, 1))).astype(np.uint8)


def watch(**settings: Any) -> CameraWatch:
    return CameraWatch(CameraConfig(**{**SMALL, **settings}), clock=lambda: 0.0)


def test_a_picture_of_another_size_is_refused_with_both_sizes() -> None:
    seen = watch()
    seen.put(np.zeros((12, 16, 3), np.uint8), 1)
    with pytest.raises(CameraError, match="7 gives pictures of 16x12, expected 16x16"):
        seen.read()
    assert seen.refused == {"size": 1}


def test_stamps_that_lag_or_go_back_are_refused_and_counted() -> None:
    seen = watch(stale_after=0.5)
    pixels = np.zeros((16, 16, 3), np.uint8)
    seen.put(pixels, 10**9, now=10**9 + 499_000_000)
    assert seen.read().stamp == 10**9
    seen.put(pixels, 2 * 10**9, now=2 * 10**9 + 510_000_000)
    with pytest.raises(CameraError, match=re.escape("came 0.51 s after its stamp (stale_after)")):
        seen.wait_newer(10**9, 0.01)
    seen.put(pixels, 10**9 - 1, now=10**9)
    with pytest.raises(CameraError, match="the stamps of 7 do not go forward"):
        seen.wait_newer(10**9, 0.01)
    assert seen.refused == {"lag": 1, "back": 1}
    seen.put(pixels, 3 * 10**9, now=3 * 10**9)
    assert seen.wait_newer(10**9, 0.01).stamp == 3 * 10**9


def test_likeness_does_not_mind_brightness_and_contrast() -> None:
    one = picture(0)
    darker = (0.5 * one + 10).astype(np.uint8)
    assert likeness(one, darker) > 0.99
    assert abs(likeness(one, picture(1))) < 0.4
    assert likeness(one, np.zeros_like(one)) == 0.0


def test_swapped_cameras_are_refused_until_they_see_what_they_must(tmp_path: Path) -> None:
    external, wrist = picture(0), picture(1)
    write_picture(tmp_path / "external.png", external)
    config = CameraConfig(device="7", width=64, height=64, reference=str(tmp_path / "external.png"))
    identify = identifier(config, {"wrist_camera": wrist})
    assert identify is not None
    seen = CameraWatch(config, identify=identify, clock=lambda: 0.0)
    seen.put(wrist, 1)
    with pytest.raises(CameraError, match=r"it looks like the wrist_camera camera \(1\.00\): swapped\?"):
        seen.read()
    seen.put(external, 2)
    assert seen.read().stamp == 2
    seen.put(wrist, 3)
    assert seen.read().stamp == 3, "what it sees later may change: the arm moves"
    seen.lost("unplugged")
    seen.put(wrist, 4)
    with pytest.raises(CameraError, match="swapped"):
        seen.read()


def test_a_missing_reference_picture_says_how_to_make_one() -> None:
    with pytest.raises(CameraError, match="there is no picture nowhere.png; save one with `meld camera reference`"):
        identifier(CameraConfig(device="7", reference="nowhere.png"), {})


def test_the_serial_number_is_found_above_the_video_device(tmp_path: Path) -> None:
    """As in sysfs: class/video4linux/video3/device is the USB interface, the serial belongs to the device above."""
    interface = tmp_path / "usb1" / "1-2" / "1-2:1.0"
    interface.mkdir(parents=True)
    (interface.parent / "serial").write_text("A1B2\n")
    (tmp_path / "video3").mkdir()
    (tmp_path / "video3" / "device").symlink_to(interface)
    assert serial_of("3", tmp_path) == serial_of("/dev/video3", tmp_path) == "A1B2"
    check_serial(CameraConfig(device="3", serial="A1B2"), tmp_path)
    with pytest.raises(CameraError, match="3 has the serial number 'A1B2', the wrist camera is 'C3': swapped?"):
        check_serial(CameraConfig(device="3", name="wrist", serial="C3"), tmp_path)


def test_views_are_cropped_averaged_and_stacked_from_top_to_bottom() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, 2:6] = 100
    pixels[0, 2] = 200
    whole, part = CameraConfig(), CameraConfig(crop=(2, 0, 4, 4))
    view = policy_view([(pixels, part), (255 - pixels, part)], 2)
    assert view.shape == (4, 2, 3)
    assert view[..., 0].tolist() == [[125, 100], [100, 100], [130, 155], [155, 155]]
    assert crop(pixels, whole) is pixels
    assert squeeze(pixels[:2, :2], 2).shape == (2, 2, 3)


def test_a_crop_beyond_the_picture_is_one_sentence() -> None:
    config = CameraConfig(name="wrist", crop=(3, 0, 4, 4))
    with pytest.raises(CameraError, match=re.escape("crop [3, 0, 4, 4] (x, y, width, height) of the wrist camera")):
        crop(np.zeros((4, 6, 3), np.uint8), config)


CALIBRATION = """
image_width: 640
image_height: 480
camera_name: wrist
camera_matrix: {rows: 3, cols: 3, data: [600, 0, 319.5, 0, 610, 239.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 1e-05, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [590, 0, 319.5, 0, 0, 600, 239.5, 0, 0, 0, 1, 0]}
"""


def test_the_calibration_of_a_cropped_and_squeezed_view(tmp_path: Path) -> None:
    """480x480 cut from the middle (80 columns off) and averaged to 64: factor 2/15; the centre stays in the centre."""
    path = tmp_path / "wrist.yaml"
    path.write_text(CALIBRATION)
    config = CameraConfig(calibration=str(path), crop=(80, 0, 480, 480))
    calibration = read_calibration(config)
    assert calibration is not None
    assert calibration.distortion == (0.1, -0.2, 1e-5, 0.0, 0.0)
    view = view_calibration(calibration, config, 64)
    assert (view.width, view.height) == (64, 64)
    assert view.k == pytest.approx((80.0, 0, 31.5, 0, 610 * 2 / 15, 31.5, 0, 0, 1))
    assert view.p == pytest.approx((590 * 2 / 15, 0, 31.5, 0, 0, 80.0, 31.5, 0, 0, 0, 1, 0))
    assert view_calibration(calibration, config, None).k == pytest.approx((600, 0, 239.5, 0, 610, 239.5, 0, 0, 1))
    assert view_calibration(calibration, CameraConfig(), None) == calibration


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("image_width: 640", "image_width: 320"), "is of pictures of 320x480, the camera camera gives 640x480"),
        (("camera_matrix", "matrix"), "is no camera calibration: KeyError 'camera_matrix'"),
        (("data: [1, 0, 0, 0, 1,", "data: [1, 0, 0, 1,"), "has 8 numbers in rectification_matrix, expected 9"),
    ],
)
def test_a_wrong_calibration_is_one_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    path = tmp_path / "wrist.yaml"
    path.write_text(CALIBRATION.replace(*change))
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        read_calibration(CameraConfig(calibration=str(path)))


def test_calibrations_can_be_compared() -> None:
    flat = Calibration(1, 1, "plumb_bob", (), (1.0,) * 9, (1.0,) * 9, (1.0,) * 12)
    assert flat.seen_through(0, 0, 1, 1, (1, 1)) == flat
