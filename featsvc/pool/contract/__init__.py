"""What the gateway, the pool and the workers say to each other."""
