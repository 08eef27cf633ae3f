"""Auditing: from a file, or a network in memory, to its certification and report."""
