"""Texts: labelled texts in files, folders and releases, and how they become rows of tokens."""
