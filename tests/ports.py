"""Free local ports for servers that tests start."""

import socket


def free_ports(count):
    """Returns a number of different free ports; all are reserved before any is released."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found
