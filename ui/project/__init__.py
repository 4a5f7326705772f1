"""A project written from a person's data: profile, golden set, suite, rails and plans."""
