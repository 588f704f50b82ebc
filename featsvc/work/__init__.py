"""What gateway and engines both speak: operations, items, options, results, callers. Knows neither torch nor gRPC."""
