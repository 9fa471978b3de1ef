"""Bags: written in the layout of rosbag2, read, recovered after a kill, damaged."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lockstep_ring import SMALL
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import serialize_message
from std_msgs.msg import String

from meld_core.exchange.importer import Importer
from meld_core.exchange.recorded import Recording
from meld_core.types import Frame
from meld_ros.bags import BagError
from meld_ros.bags.hear import HEARD, Hearing, namespace_of, split_topic
from meld_ros.bags.reader import files_of, open_bag, recover
from meld_ros.bags.recorder import described
from meld_ros.bags.writer import BagWriter
from meld_ros.cli import main
from meld_ros.conversions import bytes_to_msg, image_to_msg, scalars_to_msg

from .bag_builder import STRING, bag_of, read, text


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["/a", "/left/b"]), st.text(max_size=40)), max_size=30), st.integers(40, 400))
def test_every_message_comes_back_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, said: list[tuple[str, str]], split: int
) -> None:
    messages = [(topic, 1000 + number, text(value)) for number, (topic, value) in enumerate(said)]
    folder = bag_of(tmp_path_factory.mktemp("bags") / "bag", messages, split)
    assert read(folder) == messages
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert metadata["message_count"] == len(messages)
    assert metadata["relative_file_paths"] == [path.name for path in files_of(folder)]


def test_metadata_hold_every_field_that_rosbag2_documents(tmp_path: Path) -> None:
    """Version 8 by hand: 3 messages of 20 to 24 bytes of data, 40 ns apart, in files of at most one message."""
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    writer = BagWriter(tmp_path / "night", 1)
    writer.add_topic("/task", STRING, [described(latched)])
    for number in range(3):
        writer.write("/task", 1_000_000_000 + 40 * number, text("word"))
    writer.close()
    assert sorted(p.name for p in (tmp_path / "night").iterdir()) == [
        "metadata.yaml", "night_0.mcap", "night_1.mcap", "night_2.mcap",
    ]  # fmt: skip
    told = yaml.safe_load((tmp_path / "night/metadata.yaml").read_text())["rosbag2_bagfile_information"]
    (topic,) = told.pop("topics_with_message_count")
    files = [
        {
            "path": f"night_{n}.mcap",
            "starting_time": {"nanoseconds_since_epoch": 1_000_000_000 + 40 * n},
            "duration": {"nanoseconds": 0},
            "message_count": 1,
        }
        for n in range(3)
    ]
    assert told == {
        "version": 8,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": 80},
        "starting_time": {"nanoseconds_since_epoch": 1_000_000_000},
        "message_count": 3,
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": ["night_0.mcap", "night_1.mcap", "night_2.mcap"],
        "files": files,
        "custom_data": None,
        "ros_distro": os.environ.get("ROS_DISTRO", "rosbags"),
    }
    assert topic["message_count"] == 3
    about = topic["topic_metadata"]
    assert (about["name"], about["type"], about["serialization_format"]) == ("/task", STRING, "cdr")
    assert about["type_description_hash"].startswith("RIHS01_df668c740482")
    (qos,) = yaml.safe_load(about["offered_qos_profiles"])
    assert (qos["history"], qos["depth"], qos["reliability"], qos["durability"]) == (1, 1, 1, 1)
    assert set(qos) == {
        "history", "depth", "reliability", "durability", "deadline", "lifespan", "liveliness",
        "liveliness_lease_duration", "avoid_ros_namespace_conventions",
    }  # fmt: skip


def test_each_file_can_be_read_alone(tmp_path: Path) -> None:
    folder = bag_of(tmp_path / "bag", [("/a", n, text(str(n))) for n in range(3)], split=1)
    assert [message for path in files_of(folder) for message in read(path)] == read(folder)


def test_a_bag_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.mcap").write_bytes(b"not a bag at all" * 10)
    for name, sentence in (
        ("nowhere", "there is no bag"),
        ("empty", "is no bag: it has neither metadata.yaml nor MCAP files"),
        ("bad.mcap", "is no bag that can be read"),
    ):
        with pytest.raises(BagError, match=sentence), open_bag(tmp_path / name):
            pass
    with pytest.raises(BagError, match="exists already"):
        BagWriter(tmp_path / "empty", 1)


def test_without_rosbags_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    for command in (["record", "--out", "b"], ["import", "b", "--out", "o"], ["replay", "b"]):
        assert main(["data", *command]) == 2
        assert capsys.readouterr().err == "meld: bags need the package rosbags: pip install 'meld_ros[bags]'\n"


def test_names_and_namespaces(tmp_path: Path) -> None:
    assert split_topic("/left/trials/ack", ["trials", "trials/ack", "ack"]) == ("/left", "trials/ack")
    assert split_topic("/task", ["task"]) == ("", "task")
    assert split_topic("/other", ["task"]) == ("", "/other")
    two = bag_of(tmp_path / "two", [("/left/task", 1, text("")), ("/right/task", 2, text(""))])
    none = bag_of(tmp_path / "none", [("/a", 1, text(""))])
    with open_bag(two) as bag:
        assert namespace_of(bag, "right") == "/right"
        with pytest.raises(BagError, match="graphs in the namespaces /left, /right; say which by --namespace"):
            namespace_of(bag, None)
        with pytest.raises(BagError, match="holds no graph in namespace '/up'; it has /left, /right"):
            namespace_of(bag, "up")
    with open_bag(none) as bag, pytest.raises(BagError, match="no topic `task`"):
        namespace_of(bag, None)


def test_a_file_that_was_cut_anywhere_gives_back_its_whole_chunks(tmp_path: Path) -> None:
    """Chunks are of 1 MB: messages of 300 kB come in fours."""
    data = [text(f"{n}" * 300_000) for n in range(9)]
    whole = bag_of(tmp_path / "whole", [("/a", n, one) for n, one in enumerate(data)])
    content = (whole / "whole_0.mcap").read_bytes()
    saved = set()
    for percent in range(5, 100, 8):
        cut = tmp_path / f"cut{percent}" / ".recording" / "cut_0"
        cut.mkdir(parents=True)
        (cut / "cut_0.mcap").write_bytes(content[: len(content) * percent // 100])
        count, remarks = recover(tmp_path / f"cut{percent}", tmp_path / f"out{percent}", 10**9)
        assert "was not closed" in remarks[0]
        assert [message for _, _, message in read(tmp_path / f"out{percent}")] == data[:count]
        saved.add(count)
    assert saved == {0, 4, 8}
    assert recover(whole, tmp_path / "same", 10**9) == (9, [])
    assert read(tmp_path / "same") == read(whole)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_messages_are_counted_and_a_damaged_bag_is_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Every kind of message that is imported, with bytes changed in it, or in the file around it."""
    folder = tmp_path_factory.mktemp("bags")
    stamped = scalars_to_msg({"reward": 0.0, "success": 0.0, "probability": 0.0, "valid": 1.0}, 7)
    said = {
        "task": String(data="{}"),
        "trial_events": String(data='{"event": "closed"}'),
        "image": image_to_msg(Frame(np.zeros((32, 16, 3), np.uint8), 7, "camera")),
        "reward": stamped,
        "joint_states": stamped,
        "trials": bytes_to_msg(b"abc"),
        "weights": bytes_to_msg(b"MELDpart"),
    }
    types = {topic.name: topic.type for topic in HEARD}
    raw = {name: bytearray(serialize_message(msg)) for name, msg in said.items()}
    for name in data.draw(st.lists(st.sampled_from(sorted(raw)), max_size=4)):
        raw[name][data.draw(st.integers(0, len(raw[name]) - 1))] = data.draw(st.integers(0, 255))
    writer = BagWriter(folder / "bag", 10**9)
    for name, message in raw.items():
        kind = types[name]
        writer.add_topic(f"/{name}", f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}")
        writer.write(f"/{name}", 1, bytes(message))
    writer.close()
    path = folder / "bag" / "bag_0.mcap"
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        with open_bag(folder / "bag") as bag:
            hearing = Hearing(bag, SMALL, namespace_of(bag, None))
            assert Importer(SMALL, folder / "out").run(Recording(hearing)).stored == 0
    except BagError as error:
        assert "\n" not in str(error).strip()
