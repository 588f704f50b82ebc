"""Other servers of the same answers, each in the form that its own documentation recommends."""
