"""The agent is one graph: listen -> plan -> preflight -> approve -> act (once per step) -> report.

LangGraph keeps the cursor; what happened is in the ledger, and every node reads it from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph


class Cursor(TypedDict, total=False):
    """Where a run is: small, for it is written at every step."""

    run: str
    plan: str  # the compiled plan's id; its text is in the workspace
    refusal: dict[str, Any] | None  # why the plan may not run: message, exit_code
    goes_on: bool  # whether there is a next step to act on


class Nodes(Protocol):
    """What each node does; `agents.nodes` has the real ones."""

    def listen(self, state: Cursor) -> dict[str, Any]:
        """Take the ask."""

    def plan(self, state: Cursor) -> dict[str, Any]:
        """Take the plan that was proposed for it."""

    def preflight(self, state: Cursor) -> dict[str, Any]:
        """Find what could stop it, and record what is proposed."""

    def approve(self, state: Cursor) -> dict[str, Any]:
        """Wait for consent: no side effects, since code before an interrupt runs again."""

    def act(self, state: Cursor) -> dict[str, Any]:
        """Carry out the next step."""

    def report(self, state: Cursor) -> dict[str, Any]:
        """Say how it ended and record that."""


def build_graph(
    nodes: Nodes, checkpointer: BaseCheckpointSaver[str]
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """The graph over these nodes."""
    from langgraph.graph import END, START, StateGraph

    graph: StateGraph[Cursor, None, Cursor, Cursor] = StateGraph(Cursor)
    graph.add_node("listen", _untyped(nodes.listen))
    graph.add_node("plan", _untyped(nodes.plan))
    graph.add_node("preflight", _untyped(nodes.preflight))
    graph.add_node("approve", _untyped(nodes.approve))
    graph.add_node("act", _untyped(nodes.act))
    graph.add_node("report", _untyped(nodes.report))
    graph.add_edge(START, "listen")
    graph.add_edge("listen", "plan")
    graph.add_edge("plan", "preflight")
    graph.add_conditional_edges("preflight", after_preflight, ["approve", "report"])
    graph.add_conditional_edges("approve", act_or_report, ["act", "report"])
    graph.add_conditional_edges("act", act_or_report, ["act", "report"])
    graph.add_edge("report", END)
    return graph.compile(checkpointer=checkpointer)


def after_preflight(state: Cursor) -> str:
    """A refused plan is reported, any other needs consent."""
    return "report" if state.get("refusal") else "approve"


def act_or_report(state: Cursor) -> str:
    """On with the next step, until all are done, a gate stops the run, or nobody consents."""
    return "act" if state.get("goes_on") else "report"


def _untyped(node: Callable[[Cursor], dict[str, Any]]) -> Any:
    """A node as LangGraph's types want it."""
    return node
