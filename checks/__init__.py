"""The questions asked of an integration point, one a module."""
