"""Who may use the console: users and passwords, logins, and the guard before every page."""
