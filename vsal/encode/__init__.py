"""From manifest to bitstream: the maps' way into each encoder, and the proof that they arrived."""
