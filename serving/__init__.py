"""Serving: engines, Triton, the gateway, rails and rollout."""
