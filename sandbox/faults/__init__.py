"""The fault proxy: puts faults between a client and any real server."""
