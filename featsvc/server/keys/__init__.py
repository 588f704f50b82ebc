"""API keys: which there are, what each may, and how a file of them is made, read and read again."""
