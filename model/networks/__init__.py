"""The nets: what a frame becomes on its way to a map."""
