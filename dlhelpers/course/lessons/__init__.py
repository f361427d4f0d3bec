"""What each lesson asks, one module a lesson: content and nothing else."""
