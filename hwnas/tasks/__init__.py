"""Tasks that networks are for. A task has metrics, the loss of a training step, and the score of a split."""
