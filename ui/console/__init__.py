"""The console: chat, leaderboard, endpoints, drift and ledger in a browser, a file per page."""
