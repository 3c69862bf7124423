"""Reach the systems: one connector a kind of system, behind one seam."""
