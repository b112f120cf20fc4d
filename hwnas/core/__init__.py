"""Choices, architectures, operators, layers, wiring, spaces and their costs. No torch."""
