"""REST in front of the gRPC gateway: JSON bodies become messages, replies become JSON, and nothing is computed here."""
