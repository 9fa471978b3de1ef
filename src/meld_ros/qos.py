"""Quality of service: what is kept, what is sent again, and who is asked whether they are alive."""

from __future__ import annotations

import copy

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy


def keep(depth: int, *, latched: bool = False, best_effort: bool = False) -> QoSProfile:
    """Keep the last `depth` messages; reliable unless told otherwise, latched where told so."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


STEP_QOS = keep(10)
"""Lockstep: nothing is lost on purpose."""
SENSOR_QOS = keep(5, best_effort=True)
"""Subscriptions in realtime: an old picture is worth nothing, and drivers publish best effort."""
LATCHED_QOS = keep(1, latched=True)
LATCHED_BULK_QOS = keep(300, latched=True)
"""Depth holds a message of 240 MB in pieces of 1 MB."""
LINK_LEASE = 5.0
"""Actor and trainer that are not heard for this long are said to be lost [s]."""


def _leased(qos: QoSProfile, lease: float) -> QoSProfile:
    """With the liveliness lease [s] of whoever sends: its process is asked, not its messages."""
    qos.liveliness = LivelinessPolicy.AUTOMATIC
    qos.liveliness_lease_duration = Duration(nanoseconds=round(lease * 1e9))
    return qos


BULK_QOS = _leased(keep(300), LINK_LEASE)
"""Of subscriptions; a publisher remembers what it sent, acknowledged or not, and so has the smaller `trials_qos`."""
ACK_QOS = _leased(keep(100), LINK_LEASE)
"""Not latched: what a late joiner hears is what is true now, never an acknowledgement of long ago."""


def action_qos(lease: float) -> QoSProfile:
    """Commands, with the liveliness lease [s] of whoever sends them."""
    return _leased(keep(10), lease)


def weights_qos(pieces: int) -> QoSProfile:
    """Latched, for messages of that many pieces: the newest five, or two where they are large."""
    return keep(5 if pieces == 1 else 2 * pieces, latched=True)


def trials_qos(messages: int) -> QoSProfile:
    """For a publisher of trials that has up to so many messages under way."""
    return _leased(keep(messages), LINK_LEASE)


_REMEMBERED = 100


def remembered(qos: QoSProfile) -> QoSProfile:
    """The same with a longer memory for a publisher; what is latched keeps its depth, which late joiners get."""
    if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL or qos.reliability != ReliabilityPolicy.RELIABLE:
        return qos
    longer = copy.copy(qos)
    longer.depth = max(qos.depth, _REMEMBERED)
    return longer
