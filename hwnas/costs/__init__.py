"""Costs: what is known of an architecture without training it, and limits on it."""
