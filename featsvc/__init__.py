"""featsvc: CLIP, DINO and SAM2 features and masks over gRPC and REST."""

__version__ = "0.1.0"
