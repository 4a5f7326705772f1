"""The traffic log as figures over time, and as samples."""
