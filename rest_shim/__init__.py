"""REST in front of the gRPC gateway: JSON in, messages through, JSON out; nothing is computed here."""
