"""Numerics on arrays and strings, without I/O."""
