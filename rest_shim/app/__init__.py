"""The application of one port: its endpoints, what each does, and its pages."""
