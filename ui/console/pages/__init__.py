"""The pages that look at what was done: leaderboard, endpoints, drift, ledger, and MLflow's own."""
