"""The page that makes a project of a person's own data: upload, profile, corrections, plan."""
