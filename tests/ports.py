"""Ports of this machine that nobody listens at, for servers that tests start."""

import socket


def free_ports(count):
    """Returns as many different ones; all are looked for before any is given back."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found
