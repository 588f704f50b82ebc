"""Demo models: drawn scenes, and the training and evaluation of three tiny networks on them."""
