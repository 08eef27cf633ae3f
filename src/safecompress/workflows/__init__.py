"""From files to a verdict: what the command line and the pytest plug-in do, without printing anything."""
