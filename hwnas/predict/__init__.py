"""Predicting latency and energy: measurements to factors, and the errors of the prediction."""
