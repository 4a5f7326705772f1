"""Ways in: the command line and reports."""
