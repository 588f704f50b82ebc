"""From what a network computed to the answer that was asked for, within its limits."""
