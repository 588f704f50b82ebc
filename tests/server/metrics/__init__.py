"""Metrics, readiness, and the port that shows them."""
