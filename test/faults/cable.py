"""A cable between two machines that are network namespaces: `python cable.py ONE OTHER`.

Makes both namespaces, each with an end of the cable as its only interface besides the loopback, and carries Ethernet
frames between them as told on stdin, line by line: {"loss": 0.1, "delay": 0.2, "cut": false} (delay [s], one way). At
the end of stdin the namespaces go. Nothing leaves this computer: the ends are TAP devices that only this program reads.
"""

from __future__ import annotations

import collections
import fcntl
import json
import os
import random
import select
import struct
import subprocess
import sys
import time

ADDRESSES = ("10.231.77.1", "10.231.77.2")
_TUNSETIFF, _TAP, _NO_HEADER = 0x400454CA, 0x0002, 0x1000
_FRAME = 65536
_MOST_ON_THE_WAY = 4000
"""A longer queue drops what comes, as a router does [frames]."""


def main(names: list[str]) -> None:
    """See the module."""
    for name in names:
        _run("ip", "netns", "add", name)
    try:
        ends = [_end(name, address) for name, address in zip(names, ADDRESSES, strict=True)]
        print("ready", flush=True)
        _carry(ends)
    finally:
        for name in names:
            _run("ip", "netns", "delete", name)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _end(namespace: str, address: str) -> int:
    """The file of a TAP device that lies in a namespace."""
    device = f"m{os.getpid() % 100000}{namespace[-1]}"
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14x", device.encode(), _TAP | _NO_HEADER))
    _run("ip", "link", "set", device, "netns", namespace)
    inside = ("ip", "-n", namespace)
    _run(*inside, "address", "add", f"{address}/30", "dev", device)
    for name in ("lo", device):
        _run(*inside, "link", "set", name, "up")
    return descriptor


def _carry(ends: list[int]) -> None:
    """Frames from either end to the other, in order, until stdin ends."""
    rng, settings = random.Random(0), {"loss": 0.0, "delay": 0.0, "cut": False}
    way: collections.deque[tuple[float, int, bytes]] = collections.deque()
    while True:
        wait = max(0.0, way[0][0] - time.monotonic()) if way else None
        ready, _, _ = select.select([0, *ends], [], [], wait)
        if 0 in ready:
            line = os.read(0, 4096)
            if not line:
                return
            settings |= json.loads(line.splitlines()[-1])
            if settings["cut"]:
                way.clear()
        for index, end in enumerate(ends):
            if end in ready:
                frame = os.read(end, _FRAME)
                if not settings["cut"] and rng.random() >= settings["loss"] and len(way) < _MOST_ON_THE_WAY:
                    way.append((time.monotonic() + settings["delay"], ends[1 - index], frame))
        while way and way[0][0] <= time.monotonic():
            _, end, frame = way.popleft()
            os.write(end, frame)


if __name__ == "__main__":
    main(sys.argv[1:])
