"""Evaluation: suites, metrics, statistics, baselines and the leaderboard."""
