"""Costs: numbers per architecture that need no training, and hard limits on them."""
