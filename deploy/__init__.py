"""What the image needs."""
