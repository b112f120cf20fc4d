"""Gradient search: probabilities of options trained with a weight-entangled supernet."""
