"""The demo: ship, watch, refuse, retrain and promote a real model, through the calls every user has."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.artifact_refs import parse_ref
from ..core.errors import BackendError, OpswrightError
from ..record.ledger import Ledger, Record
from .demo_story import DemoStory

if TYPE_CHECKING:
    import httpx

    from ..agents.agent import RunOutcome
    from ..core.contract import Events
    from .session import Session

ENDPOINT = SUITE = "support"
WINDOW = 300
NEW_SHARE = 0.25
BASELINES = {
    "majority": "majority class",
    "tfidf_logreg": "TF-IDF + logistic regression",
    "tfidf_svc": "TF-IDF + linear SVM",
}
_OUTCOMES = {"done", "failed", "reused", "rolled_back", "denied"}


def example_folder() -> Path:
    """Where the example's plans and data lie."""
    return Path(__file__).resolve().parent.parent / "examples" / "support_router"


def example_suite() -> Path:
    """The suite that judges the example's models."""
    return example_folder() / "suites" / f"{SUITE}.yaml"


def example_domains(group: str) -> tuple[str, ...]:
    """The domains of one of the groups that the example's suite names."""
    from ..evals.suites import load_suite

    values = load_suite(example_suite()).groups[group]
    return tuple(values["domain"]) if isinstance(values, Mapping) else tuple(values)


class Client:
    """A client that keeps asking the endpoint while models change behind it, and counts what fails."""

    def __init__(self, url: str, texts: list[str], every_s: float = 0.1) -> None:
        self.url, self.texts, self.every_s = url, texts, every_s
        self.requests = 0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Client:
        """Start asking in a thread of its own."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop asking, and wait for the last answer."""
        self._stop.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        import httpx

        with httpx.Client(timeout=30) as client:
            while not self._stop.wait(self.every_s):
                try:
                    send(
                        client,
                        self.url,
                        self.texts[self.requests % len(self.texts)],
                        f"client-{self.requests}",
                    )
                except (httpx.HTTPError, BackendError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                self.requests += 1


def send(client: httpx.Client, url: str, text: str, user: str) -> str:
    """One chat completion through the gateway; BackendError for anything but an answer."""
    body = {"model": ENDPOINT, "user": user, "messages": [{"role": "user", "content": text}]}
    reply = client.post(f"{url}/v1/chat/completions", json=body)
    if reply.status_code != 200:
        raise BackendError(f"the gateway returned {reply.status_code} for {text!r}: {reply.text[:200]}")
    return str(reply.json()["choices"][0]["message"]["content"])


class Demo:
    """The five acts, in order; each goes through the agent as a user's command does."""

    def __init__(self, session: Session, events: Events) -> None:
        self.session = session
        self.events = events
        self.story = DemoStory()
        self.url = ""
        self._seq = Ledger.of(session.workspace).head()[0]
        self._started = time.monotonic()

    def play(self) -> DemoStory:
        """Everything; what fails is in the story's `faults`, with the figures found until then."""
        acts: list[tuple[str, Callable[[], None]]] = [
            ("1/5 ship v1", self.ship),
            ("2/5 watch the traffic", self.watch),
            ("3/5 retrain on new data alone", self.refuse),
            ("4/5 retrain with replay", self.promote),
            ("5/5 leaderboard, audit, report", self.account),
        ]
        try:
            for title, act in acts:
                self.say(title)
                began = time.monotonic()
                act()
                self.say(f"{title}: {time.monotonic() - began:.1f} s")
        except OpswrightError as error:
            self.story.faults.append(str(error))
        self.story.seconds = time.monotonic() - self._started
        return self.story

    def say(self, line: str) -> None:
        """One line for the person who watches."""
        self.events.log("demo", line)

    def ship(self) -> None:
        """V1 learns eight domains, passes its gate, becomes an engine, is guarded, deployed, and answers."""
        outcome = self.run_plan("v1", example_folder() / "v1.yaml")
        self.need(outcome, "GO", "v1")
        live = outcome.results["live"]
        self.url = live["url"]
        self.story.serving |= {k: live[k] for k in ("server", "server_version", "engine") if k in live}
        self.v1 = outcome
        import httpx

        with httpx.Client(timeout=30) as client:
            text = "what is my checking account balance"
            self.say(f"asked {text!r}, answered {send(client, self.url, text, 'first')!r}")

    def watch(self) -> None:
        """Quiet traffic of the old domains passes; with a quarter of new ones in it, drift alarms."""
        live = live_texts()
        self.replay(live["old"][:WINDOW], "quiet")
        self.story.drift["quiet"] = self.drift("quiet")
        new = round(WINDOW * NEW_SHARE)
        mixed = live["old"][WINDOW : 2 * WINDOW - new] + live["new"][:new]
        self.replay(shuffled(mixed), "mixed")
        self.story.drift["alarm"] = self.drift("alarm")
        if self.story.drift["quiet"]["alarm"]:
            self.story.faults.append("drift raised an alarm on quiet traffic")
        if not self.story.drift["alarm"]["alarm"]:
            raise BackendError(
                "drift raised no alarm although a quarter of the traffic came from new domains"
            )

    def refuse(self) -> None:
        """New data alone ruins the old domains: the gate says no, and nothing is deployed."""
        before = self.served()
        with self.asking():
            outcome = self.run_plan("v2_naive", self.proposal(replay_ratio=0.0))
        self.need(outcome, "NO_GO", "v2_naive")
        if self.served() != before:
            raise BackendError("a release changed although the gate said NO_GO")

    def promote(self) -> None:
        """With replay the gate says go: canary, probes, promotion, while a client keeps asking."""
        before = self.served()
        with self.asking():
            outcome = self.run_plan("v2", self.proposal(replay_ratio=2.0))
        self.need(outcome, "GO", "v2")
        if self.served() == before:
            raise BackendError("v2 passed its gate, but the endpoint still serves v1")
        if failed := self.story.serving["failed"]:
            self.story.faults.append(f"{failed} requests failed while models changed")

    def account(self) -> None:
        """Leaderboard, audit, and the report."""
        from ..record.mirror import sync
        from .audit_check import audit_workspace
        from .reports.demo import write_report

        rows = self.agent_call(f"/leaderboard suite={SUITE}")["rows"]
        self.story.leaderboard = rows
        self.say("bringing MLflow up to date")
        sync(self.session.workspace)
        audit = audit_workspace(self.session.workspace, self.session.registry)
        self.story.audit = {"records": audit.records, "ok": audit.ok}
        if not audit.ok:
            self.story.faults.append(f"audit: {audit.faults[0].message}")
        self.story.seconds = time.monotonic() - self._started
        path = write_report(self.session.workspace, self.story)
        self.story.report = str(path)

    def run_plan(self, name: str, file: Path) -> RunOutcome:
        """Carry out a plan file with consent to exactly what it compiles to, and collect what came of it."""
        from ..agents.approvals import Consent
        from ..agents.planner import Ask

        agent = self.session.agent(events=self.events)
        ask = Ask("plan_file", str(file))
        proposal = agent.plan_for(ask)
        outcome = agent.start(proposal, Consent(proposal.plan.id, "demo"))
        self.collect(name)
        if outcome.status == "failed":
            raise BackendError(f"{name}: {outcome.message}")
        self.story.verdicts[name] = outcome.verdict
        self.story.checks[name] = next(
            (r["verdict"] for r in outcome.results.values() if "verdict" in r), None
        )
        if "eval" in outcome.results:
            self.measure(name, outcome.results["eval"]["report"])
        return outcome

    def agent_call(self, command: str, name: str | None = None) -> dict[str, Any]:
        """One slash command's result; `name` is what the story calls the step."""
        from ..agents.approvals import Consent
        from ..agents.planner import Ask

        agent = self.session.agent(events=self.events)
        ask = Ask("slash", command)
        proposal = agent.plan_for(ask)
        outcome = agent.start(proposal, Consent(proposal.plan.id, "demo"))
        step = proposal.plan.steps[0].id
        self.collect(name or step)
        if outcome.exit_code != 0:
            raise BackendError(f"{command}: {outcome.message}")
        return outcome.results[step]

    def collect(self, name: str) -> None:
        """Take the outcome of each step that the ledger recorded since the last look."""
        for record in Ledger.of(self.session.workspace).records(after=self._seq):
            self._seq = record.seq
            if record.step is not None and record.phase in _OUTCOMES:
                self.story.steps.append(step_row(name, record))

    def measure(self, name: str, report: str) -> None:
        """A model's accuracy on old, new and all domains, and the baselines' beside it."""
        facts = self.session.workspace.artifacts.open(parse_ref(report)).facts
        self.story.metrics[name] = {
            "old": facts["slices"]["old_domains"]["value"],
            "new": facts["slices"]["new_domains"]["value"],
            "mixed": facts["value"],
        }
        for baseline, figures in facts["baselines"].items():
            words = BASELINES.get(baseline, baseline)
            self.story.baselines[f"{words} ({name}'s data)"] = {
                "old": figures["slices"]["old_domains"]["value"],
                "new": figures["slices"]["new_domains"]["value"],
                "mixed": figures["value"],
            }

    def need(self, outcome: RunOutcome, verdict: str, name: str) -> None:
        """Stop the demo when a gate decided otherwise than the story has it."""
        if outcome.verdict != verdict:
            raise BackendError(
                f"{name}: the gate says {outcome.verdict}, expected {verdict} ({outcome.message})"
            )
        self.say(f"{name}: the gate says {verdict}; {figures(self.story.metrics[name])}")

    def drift(self, name: str) -> dict[str, Any]:
        """The drift of the last window of traffic against v1's training data."""
        data = self.v1.results["data"]["dataset"]
        command = f"/drift endpoint={ENDPOINT} reference={data} window={WINDOW}"
        result = self.agent_call(command, f"drift.{name}")
        self.say(f"{name} traffic: {'ALARM' if result['alarm'] else 'no alarm'}, p {result['p_value']:.4g}")
        return result

    def proposal(self, replay_ratio: float) -> Path:
        """The plan that `retrain` proposes from the alarm."""
        results = self.v1.results
        arguments = {
            "alarm": self.story.drift["alarm"]["report"],
            "new_data": str(example_folder() / "raw" / "clinc150"),
            "split": "train",
            "domains": ",".join(example_domains("new_domains")),
            "replay": results["data"]["dataset"],
            "replay_ratio": replay_ratio,
            "base": results["model"]["checkpoint"],
            "endpoint": ENDPOINT,
            "suite": str(example_suite()),
        }
        words = " ".join(f"{name}={json.dumps(str(value))}" for name, value in arguments.items())
        return Path(self.agent_call(f"/retrain {words}")["plan_file"])

    def replay(self, texts: list[str], name: str) -> None:
        """Send texts through the gateway, one after another, as users would."""
        import httpx

        with httpx.Client(timeout=30) as client:
            for index, text in enumerate(texts):
                send(client, self.url, text, f"{name}-{index}")
                self.events.progress(f"traffic ({name})", index + 1, len(texts), "requests")
        self.count(len(texts), 0)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """A client in the background for as long as the block lasts."""
        with Client(self.url, live_texts()["old"][: 2 * WINDOW]) as client:
            yield
        self.count(client.requests, len(client.failures))
        self.story.faults.extend(client.failures[:3])

    def count(self, requests: int, failed: int) -> None:
        """Add to the requests sent and failed."""
        serving = self.story.serving
        serving["requests"] = serving.get("requests", 0) + requests
        serving["failed"] = serving.get("failed", 0) + failed

    def served(self) -> str:
        """The release that the endpoint's users get."""
        from ..serving.releases import stable_release

        release = stable_release(self.session.workspace, ENDPOINT)
        return release.id if release else ""


def step_row(name: str, record: Record) -> dict[str, Any]:
    """One step as the JSON document shows it."""
    return {
        "id": name if record.step == name.partition(".")[0] else f"{name}.{record.step}",
        "skill": record.skill,
        "status": record.phase,
        "seconds": record.detail.get("seconds", 0.0),
        "ledger": record.seq,
    }


def live_texts() -> dict[str, list[str]]:
    """Utterances of the validation split, which neither training nor the golden suite ever sees."""
    folder = example_folder() / "raw" / "clinc150"
    domains = json.loads((folder / "domains.json").read_text())
    old = {intent for domain in example_domains("old_domains") for intent in domains[domain]}
    new = {intent for domain in example_domains("new_domains") for intent in domains[domain]}
    rows = json.loads((folder / "data_full.json").read_text())["val"]
    return {
        "old": shuffled([text for text, intent in rows if intent in old]),
        "new": shuffled([text for text, intent in rows if intent in new]),
    }


def shuffled(texts: list[str]) -> list[str]:
    """The texts in an order that is the same on every run."""
    import random

    mixed = list(texts)
    random.Random(20).shuffle(mixed)
    return mixed


def figures(metrics: dict[str, float]) -> str:
    """Accuracy as a phrase."""
    return f"old {metrics['old']:.1%}, new {metrics['new']:.1%}, mixed {metrics['mixed']:.1%}"


def play(session: Session, as_json: bool) -> int:
    """Play the demo, show how it went, and give the exit code."""
    from .progress import terminal_events
    from .show import print_json

    with terminal_events(quiet=as_json) as events:
        story = Demo(session, events).play()
    if as_json:
        print_json(story.document())
    else:
        from .reports.demo import show_story

        show_story(story)
    if story.faults:
        print(f"opswright demo: {story.faults[0]}", file=sys.stderr)
    return 1 if story.faults else 0
