"""The active engine: trains the active weights of a chain of linear layers alone, on the CPU."""
