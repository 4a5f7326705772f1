"""Pages for people: HTML that opens offline, plots inline."""
