"""Reinforcement learning over choices: policies, rewards, the updates of a policy, and what is told of a search."""
