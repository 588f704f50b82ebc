"""Messages between processes, whatever is large beside them in shared memory."""
