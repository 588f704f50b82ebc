"""The pool: schedules jobs onto worker processes. Knows neither gRPC nor torch."""
