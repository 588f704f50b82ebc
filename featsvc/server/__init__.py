"""The gateway: takes gRPC calls, checks them, and hands them to the pool. Never imports torch."""
