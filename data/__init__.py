"""Samples and where they come from: rows, readers, fingerprints, similarity, kept datasets."""
