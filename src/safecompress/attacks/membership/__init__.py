"""Membership inference attacks, one family per file."""
