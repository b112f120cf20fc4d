"""Operators as values: shapes, costs and peak memory. No torch."""
