"""Requests: their bodies, what form of reply they want, and where a field of them lies."""
