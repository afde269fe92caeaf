"""From chunks to the finished file, with everything else that the source holds."""
