"""Saliency maps against what people looked at: data sets, metrics, protocols, tables."""
