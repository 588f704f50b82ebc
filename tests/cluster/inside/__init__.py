"""What `tests/cluster/test_over_ray.py` runs in a network of its own."""
