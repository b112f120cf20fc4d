"""Training: the one step, recipes, supernets, single networks, teachers, checkpoints and weights."""
