"""Data, and training supernets on it."""
