"""Studies: many models under the same attacks, to compare methods or to find settings. Never a release verdict."""
