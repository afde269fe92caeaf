"""Full-reference quality of an encode: its frames in step with the source, and what became of each block."""
