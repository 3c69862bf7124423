"""Contracts of the practice systems: package data."""
