"""Objectives: what training can minimise, one family a module."""
