"""Judges: models that say what an answer is worth, asked over any OpenAI-compatible endpoint.

settings -> client (asks, reads strictly, keeps) -> rubric, pairwise -> agreement with people -> summary.
"""
