"""Training, export and evaluation of the saliency students: the only room that imports torch."""
