"""The console's own pages: one answer each, with no file fetched after it."""
