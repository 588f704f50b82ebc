"""Between a picture and its grid of features: sizes, places, and back to pixels."""
