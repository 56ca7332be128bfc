"""The name of the network interface that has an address."""

from __future__ import annotations

import socket
import struct
import sys

SIOCGIFADDR = 0x8915  # of Linux: the IPv4 address of an interface


def interface(address: str) -> str:
    """Such as "eth0" for "10.0.0.7"; "" where it is not known."""
    if not address or not sys.platform.startswith("linux"):
        return ""
    from fcntl import ioctl  # not on Windows

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            try:
                found = ioctl(asked.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # it has none
            if socket.inet_ntoa(found[20:24]) == address.removeprefix("::ffff:"):
                return name
    return ""
