"""SAM2: its networks, masks of what prompts point at, and masks of everything."""
