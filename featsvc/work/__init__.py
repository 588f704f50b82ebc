"""What the gateway and the engines both speak: items, options and results. Knows neither torch nor gRPC."""
