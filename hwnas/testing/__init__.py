"""Conformance suites, one per seam: a class of tests that your own strategy, cost, ... inherits. Needs pytest."""
