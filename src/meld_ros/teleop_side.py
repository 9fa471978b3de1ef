"""What robot_node offers to a person: commands in state TELEOP, and services around a reset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from meld_core.host import Host, PersonError
from meld_ros import conversions as ros


class TeleopSide:
    """Subscribes `teleop/action` and `teleop/let_go`, serves the person's requests.

    Args:
        node: robot_node.
        host: Its host.
        on_action: Takes each command: (action, stamp, sender).
        on_request: Called after each request: whether the host's step is to be published.
    """

    def __init__(
        self,
        node: Node,
        host: Host,
        on_action: Callable[[TwistStamped, dict[str, Any]], None],
        on_request: Callable[[bool], None],
    ) -> None:
        self._host, self._on_request = host, on_request
        ros.subscription(node, ros.TELEOP_ACTION, on_action)
        ros.subscription(node, ros.TELEOP_LET_GO, self._on_let_go)
        acts = {
            ros.START_RESET: host.start_reset,
            ros.RESET_DONE: host.reset_done,
            ros.HOME: host.go_home,
            ros.PARK: host.park,
            ros.NEXT_TASK: host.next_task,
        }
        for name, act in acts.items():
            node.create_service(ros.SERVICE, name, self._served(act))

    def _served(self, act: Callable[[], bool]) -> Callable[[Trigger.Request, Trigger.Response], Trigger.Response]:
        def serve(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            publishes = False
            try:
                publishes = act()
                response.success = True
            except (PersonError, RuntimeError, ValueError) as error:
                response.message = str(error)
            self._on_request(publishes)
            return response

        return serve

    def _on_let_go(self, msg: String, info: dict[str, Any]) -> None:
        self._host.let_go(client_of(info), msg.data)
        self._on_request(False)


_PARTICIPANT = 12
"""Bytes of a DDS GUID that name the participant (RTPS 2.5, 8.2.4.1): the same for every topic of one process."""


def client_of(info: dict[str, Any]) -> str:
    """Beginning of the sender's id, the same for every topic of one process; "" where nobody is told."""
    gid = info.get("publisher_gid")
    return bytes(gid["data"])[:_PARTICIPANT].hex() if gid else ""
