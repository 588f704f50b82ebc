"""The models at work: pictures and parameters in, arrays out. Knows torch, and nothing of gRPC."""
