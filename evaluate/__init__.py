"""The forecast weighed itself: seeded systems with known truth, simulated and really run. Not installed."""
