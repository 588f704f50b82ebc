"""Which job goes to which worker, and what becomes of it when that fails."""
