"""Texts may hold anything: JSON, YAML, metrics and ledgers are accepted or refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from meld_core.announce import Announcement, EpisodeKey, GateReport
from meld_core.cameras.view import read_calibration
from meld_core.config import CameraConfig, Config, ConfigError, load_config, to_mapping
from meld_core.evaluation.certificate import CertificateError, load_certificate
from meld_core.metrics import METRICS_FILE, Tail, read_rows
from meld_core.reporting.run_state import RunState
from meld_core.robot import GateState
from meld_core.schedule import Schedule
from meld_core.storage.ledger import LEDGER, read_ledger, stored_episodes
from meld_core.storage.run_folder import RunError, RunFolder

from .fuzzing import attempt, damaged, fuzz_settings, wrong, wrong_json
from .sound_files import CONFIG, LEDGER_LINES, METRICS, file_of, wrong_lines

ROOT = Path(__file__).resolve().parents[2]
TASK = Schedule(Config()).plan(0).task
ANNOUNCEMENT = Announcement(EpisodeKey("demo", "b", 0, 1), TASK).to_json()
REPORT = GateReport(GateState.POLICY, "moving", EpisodeKey("demo", "b", 0, 1), 17, ("image", "truth")).to_json()
CERTIFICATE = (ROOT / "src" / "meld_core" / "demo" / "certificate.json").read_text()
CALIBRATION = {
    "image_width": 4, "image_height": 3, "distortion_model": "plumb_bob",
    "distortion_coefficients": {"rows": 1, "cols": 5, "data": [0.0] * 5},
    "camera_matrix": {"rows": 3, "cols": 3, "data": [1.0] * 9},
    "rectification_matrix": {"rows": 3, "cols": 3, "data": [1.0] * 9},
    "projection_matrix": {"rows": 3, "cols": 4, "data": [1.0] * 12},
}  # fmt: skip


@fuzz_settings
@given(wrong_json(ANNOUNCEMENT))
def test_announcements(text: str) -> None:
    if attempt("task", lambda: Announcement.from_json(text), ValueError):
        again = Announcement.from_json(text)
        assert Announcement.from_json(again.to_json()) == again
        assert 0 <= again.task.live_in(1) < len(again.task.ports)


@fuzz_settings
@given(wrong_json(REPORT))
def test_gate_states(text: str) -> None:
    if attempt("gate_state", lambda: GateReport.from_json(text), ValueError):
        again = GateReport.from_json(text)
        assert GateReport.from_json(again.to_json()) == again


@fuzz_settings
@given(
    st.one_of(
        wrong_json(CERTIFICATE).map(lambda text: text.encode(errors="surrogatepass")), damaged(CERTIFICATE.encode())
    )
)
def test_certificates(data: bytes) -> None:
    with file_of(data, "certificate.json") as path:
        attempt("certificate", lambda: load_certificate(path), CertificateError)


YAML = (ROOT / "config" / "smoke.yaml").read_text()


@fuzz_settings
@given(
    st.one_of(
        damaged(YAML.encode()),
        wrong(to_mapping(CONFIG)).map(lambda raw: json.dumps(raw).encode()),
        st.sampled_from(
            [
                b"[" * 3_000,
                b"a: &a [*a]",
                b"{a: {" * 1_000,
                b"&x [*x, *x]",
                b"!!python/object/apply:os.getcwd []",
                b"? [a]\n: b",
            ]
        ),
    )
)
def test_configs(data: bytes) -> None:
    with file_of(data, "config.yaml") as path:
        attempt("config", lambda: load_config([path]), ConfigError)
        attempt("config of a run", lambda: RunFolder(path.parent).read_config(), RunError)


@fuzz_settings
@given(wrong(CALIBRATION).map(lambda raw: json.dumps(raw).encode()))
def test_calibrations(data: bytes) -> None:
    with file_of(data, "camera.yaml") as path:
        attempt("calibration", lambda: read_calibration(CameraConfig(calibration=str(path))), ConfigError)


@fuzz_settings
@given(wrong_lines(METRICS))
def test_metrics(data: bytes) -> None:
    with file_of(data, METRICS_FILE) as path:
        attempt("metrics", lambda: Tail(path).read())
        attempt("metrics rows", lambda: read_rows(path.parent, "trial"))
        state = RunState(CONFIG)
        attempt("metrics shown", lambda: (state.update(Tail(path).read()), state.snapshot()))


@fuzz_settings
@given(wrong_lines(LEDGER_LINES))
def test_ledgers(data: bytes) -> None:
    with file_of(data, LEDGER) as path:
        attempt("ledger", lambda: (read_ledger(path.parent), stored_episodes(path.parent)))
