"""Evaluators: architectures to metrics, through sources of weights and stages that are joined."""
