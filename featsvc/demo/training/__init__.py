"""What the trainings have in common."""
