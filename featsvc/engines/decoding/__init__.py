"""From the bytes of an image file to RGB: what its header says, what decoding it will cost, and the decoding itself."""
