"""Installed conformance suites, one per seam: a test file of a user's own inherits them."""
