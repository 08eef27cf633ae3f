"""What verbs share: what they read from a user and what they print."""
