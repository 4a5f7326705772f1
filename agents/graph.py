"""The agent is one graph: listen -> plan -> preflight -> approve -> act (once per step) -> report."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph


class Consent(TypedDict):
    """One person's answer to one plan."""

    approved: bool
    plan: str
    by: str
    role: str
    how: str
    why: str


class RunState(TypedDict, total=False):
    """Everything a run knows, as plain JSON: it is what the checkpointer keeps."""

    run: str
    ask: dict[str, str]  # kind, text
    upfront: Consent | None  # consent given together with the ask, for one plan id
    plan: str  # the compiled plan's id; its text is in the workspace
    steps_left: int
    findings: list[dict[str, Any]]
    costs: dict[str, Any]
    refusal: dict[str, Any] | None  # why the plan may not run: message, exit_code
    consent: Consent | None
    results: dict[str, dict[str, Any]]  # by step id
    spent_s: float
    verdict: str | None  # of the last gate
    outcome: dict[str, Any]  # status, exit_code, message


class Nodes(Protocol):
    """What each node does; `agents.nodes` has the real ones."""

    def listen(self, state: RunState) -> dict[str, Any]:
        """Take the ask."""

    def plan(self, state: RunState) -> dict[str, Any]:
        """Propose a plan and record it."""

    def preflight(self, state: RunState) -> dict[str, Any]:
        """Find what could stop it."""

    def approve(self, state: RunState) -> dict[str, Any]:
        """Wait for consent: no side effects, since code before an interrupt runs again."""

    def act(self, state: RunState) -> dict[str, Any]:
        """Carry out the next step."""

    def report(self, state: RunState) -> dict[str, Any]:
        """Say how it ended and record that."""


def build_graph(
    nodes: Nodes, checkpointer: BaseCheckpointSaver[str]
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The graph over these nodes."""
    from langgraph.graph import END, START, StateGraph

    graph: StateGraph[RunState, None, RunState, RunState] = StateGraph(RunState)
    graph.add_node("listen", _plain(nodes.listen))
    graph.add_node("plan", _plain(nodes.plan))
    graph.add_node("preflight", _plain(nodes.preflight))
    graph.add_node("approve", _plain(nodes.approve))
    graph.add_node("act", _plain(nodes.act))
    graph.add_node("report", _plain(nodes.report))
    graph.add_edge(START, "listen")
    graph.add_edge("listen", "plan")
    graph.add_edge("plan", "preflight")
    graph.add_conditional_edges("preflight", after_preflight, ["approve", "report"])
    graph.add_conditional_edges("approve", after_approve, ["act", "report"])
    graph.add_conditional_edges("act", after_act, ["act", "report"])
    graph.add_edge("report", END)
    return graph.compile(checkpointer=checkpointer)


def after_preflight(state: RunState) -> str:
    """A refused plan is reported, any other needs consent."""
    return "report" if state.get("refusal") else "approve"


def after_approve(state: RunState) -> str:
    """Without a yes nothing is carried out."""
    consent = state.get("consent")
    return "act" if consent is not None and consent["approved"] else "report"


def after_act(state: RunState) -> str:
    """On with the next step, until all are done or a gate says no."""
    if state.get("verdict") not in (None, "GO"):
        return "report"
    return "act" if state["steps_left"] else "report"


def _plain(node: Callable[[RunState], dict[str, Any]]) -> Any:
    """A node as LangGraph's types want it."""
    return node
