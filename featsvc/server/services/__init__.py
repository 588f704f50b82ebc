"""The gRPC services: each method decodes, submits and encodes."""
