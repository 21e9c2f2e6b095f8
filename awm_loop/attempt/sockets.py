"""How much the TCP sockets of some processes have received: the one sign of life of an agent that awaits its model."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator

from awm_loop.attempt import procfs

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
REQUEST_DUMP = 0x301
INET_DIAG_INFO = 2
ERROR_OR_DONE = (2, 3)
STATES = 0xFFF & ~(1 << 10) & ~(1 << 6)  # but LISTEN and TIME_WAIT: they receive nothing and have no owner
HEADER = struct.Struct("=IHHII")  # nlmsghdr
INODE_OFFSET = HEADER.size + 68  # in inet_diag_msg, which is 72 bytes
ATTRIBUTES_OFFSET = HEADER.size + 72
BYTES_RECEIVED_OFFSET = 128  # in tcp_info, since Linux 4.1
WAIT_SECONDS = 0.5


def received(pids: Iterable[int]) -> dict[int, int]:
    """Bytes received so far on each TCP socket of `pids`, by the socket's inode.

    Asks the kernel's sock_diag by netlink, only when `pids` hold sockets at all. Empty where the kernel has no
    sock_diag or does not answer; sockets of another network namespace (an agent in a container) are not seen.
    """
    held = {int(target[8:-1]) for pid in pids for _, target in procfs.open_files(pid) if target.startswith("socket:[")}
    if not held:
        return {}
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
            netlink.settimeout(WAIT_SECONDS)
            every = [*_dump(netlink, socket.AF_INET), *_dump(netlink, socket.AF_INET6)]
    except OSError:
        return {}
    return {inode: count for inode, count in every if inode in held}


def _dump(netlink: socket.socket, family: int) -> Iterator[tuple[int, int]]:
    extensions = 1 << (INET_DIAG_INFO - 1)
    request = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, extensions, 0, STATES)
    netlink.send(HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 1, 0) + request)
    while True:
        answer = netlink.recv(1 << 16)
        while answer:
            length, kind, *_ = HEADER.unpack_from(answer)
            if kind in ERROR_OR_DONE:
                return
            (inode,) = struct.unpack_from("=I", answer, INODE_OFFSET)
            yield inode, _bytes_received(answer[ATTRIBUTES_OFFSET:length])
            answer = answer[(length + 3) & ~3 :]


def _bytes_received(attributes: bytes) -> int:
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == INET_DIAG_INFO and length >= 4 + BYTES_RECEIVED_OFFSET + 8:
            (count,) = struct.unpack_from("=Q", attributes, 4 + BYTES_RECEIVED_OFFSET)
            return int(count)
        attributes = attributes[max(4, (length + 3) & ~3) :]
    return 0
