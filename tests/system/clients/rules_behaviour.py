"""Packets, counters, port settings, removed flows, reserved ports, fragments, groups and bundles, by version."""

import rules_flows  # noqa: F401 (makes rules)
import rules_groups  # noqa: F401
import rules_packets  # noqa: F401
import rules_ports  # noqa: F401
from bench import DEVICES, PORTS, RULES
from frames import Devices


def rules():
    DEVICES.append(Devices(PORTS))
    return RULES
