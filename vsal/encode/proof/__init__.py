"""Whether an encode obeyed its maps, from the bitstream."""
