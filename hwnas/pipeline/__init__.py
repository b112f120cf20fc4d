"""The chain: profile, fit, train, search, export, measure again."""
