"""Conformance suites: the laws that every part of hwnas obeys, for parts of your own, too."""
