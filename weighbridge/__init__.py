"""Weighbridge: will our integrations survive the go-live?"""

__version__ = "0.1.0"
