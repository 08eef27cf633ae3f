"""One verb a file; each joins the application when it is imported, and has one line in `cli.app`."""
