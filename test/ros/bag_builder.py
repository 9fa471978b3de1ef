"""Small bags of texts, written and read."""

from __future__ import annotations

from pathlib import Path

from rclpy.serialization import serialize_message
from std_msgs.msg import String

from meld_ros.bags.reader import open_bag
from meld_ros.bags.writer import BagWriter

STRING = "std_msgs/msg/String"


def text(value: str) -> bytes:
    return bytes(serialize_message(String(data=value)))


def bag_of(folder: Path, messages: list[tuple[str, int, bytes]], split: int = 10**9) -> Path:
    writer = BagWriter(folder, split)
    for name in dict.fromkeys(topic for topic, _, _ in messages):
        writer.add_topic(name, STRING)
    for topic, stamp, data in messages:
        writer.write(topic, stamp, data)
    writer.close()
    return folder


def read(path: Path) -> list[tuple[str, int, bytes]]:
    with open_bag(path) as bag:
        return list(bag.messages())
