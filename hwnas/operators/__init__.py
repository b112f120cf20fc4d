"""Operators as values: shapes, costs and peak memory. Knows no torch."""
