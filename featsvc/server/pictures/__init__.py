"""Where the pictures of requests come from: addresses, and pictures that were sent lately."""
