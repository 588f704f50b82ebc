"""One conformance kit, asked by the clients of all languages."""
