"""Triton: its runtime, its model repository, a client, and the model code that runs inside it."""
