"""What the lessons ask: `core` has predictions, questions and exercises, `progress` remembers, one module a lesson."""
