"""What people call the places where work runs, for the requests that let one choose."""

from __future__ import annotations

from ..core.phrasing import Spoken

WHERE_IT_RUNS = Spoken(
    values={
        "slurm": ("slurm",),
        "kubernetes": ("kubernetes", "k8s"),
        "local": ("locally", "on this machine", "local machine"),
    }
)
"""Names of the backends that come with it; another one is said as "compute NAME"."""
