"""Predicting latency: measurements to factors, and the errors of the prediction."""
