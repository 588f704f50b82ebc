"""DINO: its networks and its dense features."""
