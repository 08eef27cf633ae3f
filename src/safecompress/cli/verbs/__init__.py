"""One verb a file. A module joins the application when it is imported, and is listed by its name in `cli.app`."""
