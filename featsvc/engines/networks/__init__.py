"""What the networks of all families have in common: weights, types, kernels, and what a pass costs."""
