"""Trained networks made elastic: a torch module is traced, cut into blocks, and becomes a space of its smaller versions."""
