"""Objects of a picture: their masks, and vectors that describe them."""
