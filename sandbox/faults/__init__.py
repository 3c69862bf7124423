"""The fault proxy: puts faults between a client and any real server, on loopback only."""

from weighbridge.sandbox.faults.line import Line
from weighbridge.sandbox.faults.proxy import FaultProxy
from weighbridge.sandbox.faults.spec import TYPES, Fault, parse_fault

__all__ = ["TYPES", "Fault", "FaultProxy", "Line", "parse_fault"]
