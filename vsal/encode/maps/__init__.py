"""Maps in the shapes, levels and units that encoders take."""
