"""The training loops and what they make small."""
