"""Figures of a model, and pictures of where it fails."""
