"""Engines that drive load."""
