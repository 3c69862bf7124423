"""What was promised: contracts, integration points and the scale that production asks."""
