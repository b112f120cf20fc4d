"""Evaluators: architectures to metrics, through a source of weights and stages that are joined."""
