"""demo-sam2: its network, its training and how well it does."""
