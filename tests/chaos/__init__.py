"""Attacks on a running server: floods, stalled messages and mistakes, bounded and on loopback only."""
