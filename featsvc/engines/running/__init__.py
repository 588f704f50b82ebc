"""How engines run: families, steps that can be interrupted, caches, and memory that runs out."""
