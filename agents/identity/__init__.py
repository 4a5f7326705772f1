"""Who acts when a token of a continuous integration system says so: rules, keys, verification."""
