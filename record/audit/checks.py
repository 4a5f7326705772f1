"""CHECKS: everything that `opswright audit verify` looks at, in one list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import authority_checks as consent
from . import month_checks as months
from . import run_checks as runs
from . import workspace_checks as beside
from .moment import Moment
from .phases import (
    APPROVED,
    DONE,
    FAILED,
    INTENT,
    PROPOSED,
    RESERVED,
    REUSED,
    ROLLED_BACK,
    SETTLED,
    SUBMITTED,
)
from .report import FaultCollector
from .workspace_checks import Evidence

_OUTCOMES = frozenset({DONE, ROLLED_BACK})


@dataclass(frozen=True)
class RecordCheck:
    """A check of each record of some phases, against its run just before it (all phases: also unknown ones).

    of_steps: whether only records of a step are asked about. remedy: what a person does about a fault.
    """

    name: str
    looks_at: str
    function: Callable[[Moment], runs.Said]
    remedy: str
    phases: frozenset[str] | None = None
    of_steps: bool = False


@dataclass(frozen=True)
class WorkspaceCheck:
    """A check that is made once, after the walk over the ledger."""

    name: str
    looks_at: str
    function: Callable[[Evidence, FaultCollector], beside.Looked]
    remedy: str


Check = RecordCheck | WorkspaceCheck

_DO_NOT_TRUST = "Do not rely on this run: look at who wrote the record, and do again what must stand."
_RESTORE = "Restore it from a backup; what stands on it cannot be shown to be right until then."

CHECKS: tuple[Check, ...] = (
    WorkspaceCheck(
        "chain",
        "Each record's number, its link to the record before, and its hash over the line's own bytes.",
        beside.chain,
        "Restore the ledger's folder from a backup whose head an anchor or a signature confirms.",
    ),
    RecordCheck(
        "records",
        "Each record has a known phase and belongs to a run that was proposed and is not over.",
        runs.records,
        _DO_NOT_TRUST,
    ),
    RecordCheck(
        "plans",
        "Each record stands on its run's stored plan, which hashes to its id, is well-formed and has the "
        "effects that the skills themselves declare.",
        runs.plans,
        "Restore the plan from a backup if it was damaged; a plan that says other effects was forged.",
    ),
    RecordCheck(
        "approvals",
        "Each step that does more than read stands on an approval of this very plan, in this run, given "
        "before it and not withdrawn.",
        consent.approvals,
        _DO_NOT_TRUST,
        frozenset({INTENT, REUSED}),
        of_steps=True,
    ),
    RecordCheck(
        "policy",
        "Whoever proposed, approved and ran might do so by the policy that the record names, with the roles "
        "recorded, at that time.",
        consent.policy,
        "Have the plan approved and run by someone whom `opswright policy show` lets do it.",
        frozenset({PROPOSED, APPROVED, INTENT, REUSED}),
    ),
    RecordCheck(
        "order",
        "Steps begin before they end, each is done once, none runs after a gate said no, and no run is done "
        "with one missing.",
        runs.order,
        "See what the step changed; if it was done twice, undo one (`opswright rollback ENDPOINT`).",
        frozenset({INTENT, REUSED, DONE, ROLLED_BACK, SUBMITTED}),
    ),
    RecordCheck(
        "arguments",
        "Each call had the plan's arguments, references filled in from the recorded results.",
        runs.arguments,
        _DO_NOT_TRUST,
        frozenset({INTENT, REUSED}),
        of_steps=True,
    ),
    RecordCheck(
        "keys",
        "A step keeps one idempotency key over all its attempts, and no other step has it.",
        runs.keys,
        "See whether what the step changes outside happened twice.",
        frozenset({INTENT}),
        of_steps=True,
    ),
    RecordCheck(
        "reuse",
        "A reused result stands on a finished call, by number and hash, with the same request and result.",
        runs.reuse,
        "Remove the receipt from `receipts/` and run the plan again.",
        frozenset({REUSED}),
        of_steps=True,
    ),
    RecordCheck(
        "gates",
        "A verdict follows from its rows, by criteria that the plan fixed before anything ran.",
        consent.gates,
        "Judge the model again with the plan's gate before it is served.",
        frozenset({REUSED, *_OUTCOMES}),
        of_steps=True,
    ),
    RecordCheck(
        "serving",
        "A bundle is served only if a gate judged it, or the checkpoint behind it, GO before, with no later "
        "NO_GO on that suite; or by a waiver that the plan names.",
        consent.serving,
        "Roll the endpoint back (`opswright rollback ENDPOINT`), and have a gate judge the model first.",
        frozenset({PROPOSED, INTENT}),
    ),
    RecordCheck(
        "budgets",
        "Each attempt reserves before it begins and settles when it ends; none begins beyond the plan's "
        "budget.",
        consent.budgets,
        "See what the run really took, and raise the plan's budget if that was right.",
        frozenset({RESERVED, SETTLED, INTENT, FAILED, *_OUTCOMES}),
        of_steps=True,
    ),
    RecordCheck(
        "months",
        "No step begins, and no message is planned, beyond what its person, and all together, may take in "
        "that month by the policy that the record names; what was reserved is settled with a figure, in no "
        "earlier month.",
        months.month_budgets,
        "See who changed the policy or the record; raise the budget of the month if the spending was right.",
        frozenset({INTENT, SETTLED, RESERVED}),
    ),
    WorkspaceCheck(
        "receipts",
        "A receipt is exactly what the record it names says was done.",
        beside.receipts,
        "Remove the receipt: the call is made again when it is needed.",
    ),
    WorkspaceCheck(
        "artifacts",
        "Every artifact that a record names is there, every byte as recorded.",
        beside.artifacts,
        "Restore the artifact from a backup, or make it again with its plan.",
    ),
    WorkspaceCheck(
        "environments",
        "The package versions behind each record's environment digest are kept as they were.",
        beside.environments,
        _RESTORE,
    ),
    WorkspaceCheck(
        "served",
        "Each endpoint's `desired.json` is what the records of deploy, promote and rollback made of it.",
        beside.served,
        "Deploy the release that should be served, so that a record stands behind it.",
    ),
    WorkspaceCheck(
        "anchors",
        "Heads kept elsewhere (`--anchor`) are in the ledger with the same hash.",
        beside.anchors,
        "Restore the ledger's folder from a backup that still has the anchored record.",
    ),
    WorkspaceCheck(
        "signatures",
        "Signed heads (`--signature`) hold for the key given, and the ledger still has them.",
        beside.signatures,
        "Ask for the signature again where it was kept; restore the ledger if it lacks the signed head.",
    ),
    WorkspaceCheck(
        "mirror",
        "The view in MLflow that the ledger and `mirror.json` say was set up is this workspace's, and the "
        "ledger still has the last record that it was given.",
        beside.mirror,
        "If nobody tampered: restore the file, or write MLflow anew with `opswright audit sync --all`.",
    ),
    WorkspaceCheck(
        "mlflow",
        "Each run and step in MLflow is the ledger's, in every tag, name, note, status, time, param and "
        "metric; and none is missing.",
        beside.mlflow,
        "If the ledger is intact, `opswright audit sync --all` writes MLflow again from it.",
    ),
)
