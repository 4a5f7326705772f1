"""Where work runs: this machine, Slurm, or what an installed package brings.

A skill describes a job and hands it to `run_job`; which backend carries it out is a setting or an argument of
the plan. Nothing here knows what a job computes.
"""

from .backends import open_compute, where_it_runs
from .job import Compute, Job, JobState, JobStatus, Resources
from .run import JobFailedError, JobResult, run_job

__all__ = [
    "Compute",
    "Job",
    "JobFailedError",
    "JobResult",
    "JobState",
    "JobStatus",
    "Resources",
    "open_compute",
    "run_job",
    "where_it_runs",
]
