"""Run folders: what a search stores, and where."""
