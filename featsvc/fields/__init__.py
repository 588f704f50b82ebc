"""What the fields of the generated classes are made of, and what is said where one is wrong."""
