"""CLIP: its networks, its texts, and the operations on them."""
