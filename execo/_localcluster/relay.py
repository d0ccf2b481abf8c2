"""Delays what passes on the link of one host of a `LocalCluster`, in both directions.

``python -I -S relay.py LINK SECONDS``, in the network namespace of the switch.  The link leaves the bridge; a pair of
links takes its place, and this process carries the frames between the near end of the pair and the link.  Kernels
have a queue that delays (netem), but often not as installed, and a relay of our own is the same everywhere.

The frames are carried with the header of virtio, which says what of them is still to be done by a network card
(checksum, segmentation).  So the senders need no other settings, and frames of 64 kB pass as one.

It prints a line when it is ready, and puts the link back when its standard input ends; its pair ends with it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import time
from collections import deque

# <linux/if_ether.h>, <linux/if_packet.h>
ETH_P_ALL, SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 3, 263, 15, 23
SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>
FRAME = 1 << 17
"""Bytes, more than the largest frame with its header."""
QUEUE = 10000
"""Frames on the way in one direction; more are lost, as in netem."""


def ip(batch: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True, stdout=subprocess.DEVNULL)


def open_link(name: str) -> socket.socket:
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL))
    link.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    link.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    link.bind((name, 0))
    return link


def receive(link: socket.socket, queue: deque[tuple[float, bytes]], due: float) -> None:
    try:
        while True:
            frame = link.recv(FRAME)
            if len(queue) < QUEUE:
                queue.append((due, frame))
    except BlockingIOError:
        return
    except OSError:  # the link went down: told once
        return


def relay(one: socket.socket, other: socket.socket, delay: float) -> None:
    """Until standard input ends."""
    ways: list[tuple[socket.socket, socket.socket, deque[tuple[float, bytes]]]]
    ways = [(one, other, deque()), (other, one, deque())]
    poll = select.poll()
    for fd in (0, one.fileno(), other.fileno()):
        poll.register(fd, select.POLLIN)
    while True:
        dues = [queue[0][0] for _, _, queue in ways if queue]
        # poll rounds up to milliseconds: a frame is never early, and late by one at most.
        timeout = max(0.0, min(dues) - time.monotonic()) * 1000 if dues else None
        if 0 in (fd for fd, _ in poll.poll(timeout)):
            return
        now = time.monotonic()
        for source, target, queue in ways:
            receive(source, queue, now + delay)
            while queue and queue[0][0] <= now:
                with contextlib.suppress(OSError):  # the link is down, or its queue full: a frame is lost
                    target.send(queue.popleft()[1])


def main(link: str, seconds: str) -> None:
    near, far = f"{link}near", f"{link}far"
    ip(f"link add {near} type veth peer name {far}\nlink set {link} nomaster promisc on\n"
       f"link set {far} up master br0\nlink set {near} up promisc on\n")
    try:
        with open_link(link) as host, open_link(near) as bridge:
            print("ready", flush=True)
            relay(host, bridge, float(seconds))
    finally:
        ip(f"link del {near}\nlink set {link} promisc off master br0\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
