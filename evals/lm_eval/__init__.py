"""Tasks of lm-evaluation-harness as suites: it builds requests and scores, our engines answer."""
