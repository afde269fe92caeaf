"""What the nets learn from: pictures, clips, and the labels of teachers."""
