"""Compression: one job, the phases of a run, the folder that keeps them, and the search inside it."""
