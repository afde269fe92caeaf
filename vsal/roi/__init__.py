"""From masks to macroblocks: block grids and QP offsets."""
