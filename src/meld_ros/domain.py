"""A ROS domain of one's own: two graphs on one machine must not hear each other."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

_DOMAINS = range(1, 101)
"""On Linux higher domains reach into the ports that the kernel hands out."""


@contextmanager
def own_domain() -> Iterator[int | None]:
    """Claim a domain as long as this lasts; None where ROS_DOMAIN_ID says which one to use.

    The claim is a bound socket, which the kernel frees however this process ends. The port is one that DDS leaves
    free in the domain's range (7400 + 250 domain + 5).

    Raises:
        RuntimeError: where every domain is taken.
    """
    if os.environ.get("ROS_DOMAIN_ID"):
        yield None
        return
    start = os.getpid()
    for offset in range(len(_DOMAINS)):
        domain = _DOMAINS[(start + offset) % len(_DOMAINS)]
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as claim:
            try:
                claim.bind(("127.0.0.1", 7400 + 250 * domain + 5))
            except OSError:
                continue
            yield domain
            return
    raise RuntimeError("all 100 ROS domains are in use on this machine; set ROS_DOMAIN_ID to say which one to use")
