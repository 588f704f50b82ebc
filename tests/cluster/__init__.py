"""Workers over Ray, on nodes of one machine that reach nothing else."""
