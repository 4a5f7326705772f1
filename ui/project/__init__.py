"""A project written from a person's data: profile, golden set, suite, rails and plans."""

SEED = 1111
"""Which rows are held out, where nobody says otherwise."""
