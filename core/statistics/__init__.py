"""Statistics of shares, means and paired answers: tests, the intervals that invert them, and planning.

`bar_tests` has what a release gate decides by, `power` what can be said before anything is measured.
"""

from .bar_tests import BarTest, mean_at_least, mean_drop_at_most, share_at_least, share_drop_at_most
from .correction import holm, holm_rejections
from .drop_test import DropTest
from .paired import Paired, mcnemar_exact, mcnemar_one_sided, paired
from .shares import wilson

__all__ = [
    "BarTest",
    "DropTest",
    "Paired",
    "holm",
    "holm_rejections",
    "mcnemar_exact",
    "mcnemar_one_sided",
    "mean_at_least",
    "mean_drop_at_most",
    "paired",
    "share_at_least",
    "share_drop_at_most",
    "wilson",
]
