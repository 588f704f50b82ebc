"""Calls of the gateway that end with their caller."""
