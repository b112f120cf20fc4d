"""Data sets: where examples come from, how they are split, and how a batch is made."""
