"""demo-clip: its network, its training and how well it does."""
