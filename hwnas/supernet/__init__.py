"""Weight-entangled supernets: every architecture of a space inside one set of weights."""
