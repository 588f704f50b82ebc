"""Replies: JSON, and bytes alone."""
