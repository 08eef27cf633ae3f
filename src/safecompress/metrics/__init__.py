"""Metrics: what each figure means, one measured value with its intervals, and the statistics behind both."""
