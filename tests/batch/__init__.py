"""`featsvc batch`."""
