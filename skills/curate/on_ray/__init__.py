"""Rows judged and compared on a Ray cluster: NeMo Curator marks them, Ray Data finds those that are alike.

`table` is what the skill sees. It lays the rows out as `work` says and starts `driver` as a job, in an
environment of its own; what the cluster's workers do stands in `workers`, without a word of Ray.
"""
