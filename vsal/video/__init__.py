"""Video files in, thumbnails, cut scores and model inputs out. Knows nothing of Ray or models."""
