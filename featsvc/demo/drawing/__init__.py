"""Drawn scenes, and views of them."""
