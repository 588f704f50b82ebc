"""Arrays and messages as bytes, for server, shim and clients. Knows neither torch nor gRPC."""
