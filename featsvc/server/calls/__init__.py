"""Around every call: who may make it, how it ends, and what the log says of it."""
