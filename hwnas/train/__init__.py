"""Training: the one step, supernets by the sandwich rule, single networks, checkpoints and weights."""
