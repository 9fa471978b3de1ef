"""The node of `meld teleop`: a person's keys, as they are pressed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Protocol

import rclpy
from rclpy.node import Node

from meld_core.config import Config
from meld_core.teleop.session import Session
from meld_ros.keys import pressed_keys
from meld_ros.node_main import Background
from meld_ros.person_link import PersonLink


class Screen(Protocol):
    """Where the person looks."""

    def draw(self) -> None:
        """Show what is so now."""

    def close(self) -> None:
        """End it."""


def serve_keyboard(config: Config, namespace: str, show: Callable[[Session, bool], Screen]) -> int:
    """Serve keys until q (or the end of the input). Whoever presses none any more leaves a resting arm.

    Returns:
        Exit code 0.
    """
    rclpy.init()
    node = Node("keyboard", namespace=namespace)
    lock = threading.Lock()
    session = PersonLink(node, config, lambda sentence: print(sentence, file=sys.stderr), lock).session
    background = Background(node, "keyboard")
    background.start()
    screen = show(session, sys.stdin.isatty() and sys.stdout.isatty())

    def look() -> bool:
        with lock:
            screen.draw()
        return False

    try:
        for key in pressed_keys(look):
            with lock:
                session.on_key(key)
        return 0
    except KeyboardInterrupt:
        return 0
    finally:
        screen.close()
        background.close()
        with lock:
            session.leave()
        node.destroy_node()
        rclpy.shutdown()
