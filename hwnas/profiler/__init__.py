"""Measuring latency on the device: export, runtimes, protocol, and the table measurements are stored in."""
