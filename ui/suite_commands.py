"""Commands about suites: list, show, new, validate. Only `new` writes, and never over a file."""

from __future__ import annotations

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..evals.suites import Suite

_SHOWN = 3

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Named = Annotated[str, typer.Argument(help="A suite's name, or its YAML file.")]
Trust = Annotated[
    Path | None, typer.Option(help="Folder whose Python scorers may be run; without it, none is.")
]


suites_app = typer.Typer(no_args_is_help=True, help="What models are asked: list, show, new, validate.")


@suites_app.command("list")
def list_suites(json: Json = False) -> None:
    """List the suites that are shipped, of installed packages, and in the folder's `suites/`.

    Example: opswright suites list
    """
    from ..core.errors import OpswrightError
    from ..evals.leaderboard import text_table
    from ..evals.suites import load_suite, suite_files, suite_names

    rows: list[dict[str, Any]] = []
    for source in [*suite_names(), *map(str, suite_files(Path()))]:
        try:
            rows.append(_described(source, load_suite(source)))
        except OpswrightError as error:  # one bad file does not hide the others
            rows.append({"suite": source, "error": str(error)})
    if json:
        typer.echo(json_text.dumps(rows, indent=2, ensure_ascii=False))
        return
    cells = [
        (str(row["suite"]), *((str(row["task"]), str(row["items"]), row["metrics"][0], row["summary"])))
        if "error" not in row
        else (str(row["suite"]), "-", "-", "-", f"FAULTY: {row['error']}")
        for row in rows
    ]
    typer.echo(text_table(("suite", "task", "items", "judged by", "what it asks"), cells))


@suites_app.command("show")
def show_suite(suite: Named, json: Json = False) -> None:
    """Show what a suite asks: its first prompts as a model gets them, scorers, slices and digest.

    Example: opswright suites show suites/shop.yaml
    """
    from ..evals.leaderboard import text_table
    from ..evals.suites import in_slice, load_suite

    found = load_suite(suite)
    described = _described(suite, found)
    described["slices"] = {
        name: sum(in_slice(item, rule) for item in found.items) for name, rule in found.slices().items()
    }
    described["examples"] = [
        {"id": item.id, "prompt": [*found.prompt.chat(item)], "answers": list(item.targets)}
        for item in found.items[:_SHOWN]
    ]
    if json:
        typer.echo(json_text.dumps(described, indent=2, ensure_ascii=False))
        return
    for name in ("suite", "task", "items", "min_items", "licence", "source", "summary", "digest"):
        typer.echo(f"{name:10} {described[name]}")
    typer.echo(f"{'judged by':10} {', '.join(described['metrics'])}")
    if described["judge"] is not None:
        typer.echo(f"{'judge':10} {described['judge']['model']} at {described['judge']['url']}")
    if described["embedder"] is not None:
        typer.echo(f"{'embedder':10} {described['embedder']['model']} at {described['embedder']['url']}")
    typer.echo("")
    if described["slices"]:
        rows = [(name, str(n)) for name, n in described["slices"].items()]
        typer.echo(text_table(("slice", "items"), rows) + "\n")
    for example in described["examples"]:
        for message in example["prompt"]:
            typer.echo(f"{message['role']:10} {_one_line(message['content'])}")
        typer.echo(f"{'right':10} {_one_line(' | '.join(example['answers']))}\n")


@suites_app.command("new")
def new_suite(
    name: Annotated[str, typer.Argument(help="Name of the suite, and of its file in suites/.")],
    samples: Annotated[Path, typer.Argument(help="File of samples, of any shape that datasets may have.")],
    column: Annotated[
        list[str] | None, typer.Option(help="What a column is: user=COLUMN, target=COLUMN, group=COLUMN, ...")
    ] = None,
    task: Annotated[str | None, typer.Option(help="What is asked. [default: as the samples look]")] = None,
    leave_out: Annotated[
        bool, typer.Option("--leave-out", help="Leave out the rows that cannot be taken.")
    ] = False,
) -> None:
    """Write suites/NAME.yaml for a file of samples, with the task and slices that its columns show.

    Example: opswright suites new tone golden.jsonl
    """
    from ..evals.suites.draft import draft_suite

    columns = _pairs("column", "PART=COLUMN, as user=question", column) or None
    path = draft_suite(name, samples, Path("suites"), columns, task, leave_out)
    typer.echo(f"{path} was written: read it, then `opswright suites validate {path}`")


@suites_app.command("lm-eval")
def lm_eval_suite(
    task: Annotated[str, typer.Argument(help="Name of the task in lm-evaluation-harness.")],
    tasks: Annotated[
        Path | None, typer.Option(help="Folder of your own tasks, with their data. [default: its own tasks]")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="File in place of a task's data: test=FILE, validation=FILE, ...")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask in chats, not by plain text.")] = False,
    shots: Annotated[int | None, typer.Option(min=0, help="Examples before each question.")] = None,
    trust: Trust = None,
) -> None:
    """Have a task of lm-evaluation-harness built, and write suites/TASK.yaml with its requests beside it.

    Example: opswright suites lm-eval faq --tasks lm_tasks --trust lm_tasks
    """
    from ..evals.suites.build_lm_eval import build_suite

    files = {split: Path(file) for split, file in _pairs("data", "SPLIT=FILE", data).items()}
    path = build_suite(task, Path("suites"), tasks, files, trust, chat=chat, shots=shots)
    typer.echo(f"{path} was written: read it, then `opswright suites show {path}`")


def _pairs(option: str, shape: str, words: list[str] | None) -> dict[str, str]:
    """Words of an option as NAME=VALUE; AskError for one that is not."""
    from ..core.errors import AskError

    pairs = [word.partition("=") for word in words or ()]
    if wrong := next((name for name, equals, value in pairs if not equals or not value), None):
        raise AskError(f"--{option} {wrong}: expected {shape}.")
    return {name: value for name, _, value in pairs}


@suites_app.command("validate")
def validate_suite(suite: Named, trust: Trust = None, json: Json = False) -> None:
    """Check a suite: its file, every prompt, its scorers on its own right answers.

    Example: opswright suites validate suites/tone.yaml
    """
    from ..core.errors import AskError
    from ..evals.suites import load_suite
    from ..evals.suites.draft import scores_of_right_answers

    found = load_suite(suite)
    scores = scores_of_right_answers(found, trust)
    document = {**_described(suite, found), "right_answers_score": scores}
    if json:
        typer.echo(json_text.dumps(document, indent=2, ensure_ascii=False))
    else:
        server = found.judge or found.embedder
        asked = "a server" if server is None else f"{server.model} at {server.url}"
        typer.echo(f"{found.name}: {len(found.items)} samples, digest {found.digest[:12]}")
        for metric, score in scores.items():
            said = "not scored" if score["mean"] is None else f"{score['mean']:.3f} on {score['n']}"
            typer.echo(f"  {metric:20} right answers score {said}, {score['faults']} faults")
        for metric in (spec.metric for spec in found.specs if spec.metric not in scores):
            typer.echo(f"  {metric:20} not asked: it scores by asking {asked}")
    first = scores.get(found.specs[0].metric)
    if first is not None and first["mean"] is None:
        why = first["fault"] or "no sample has what it needs"
        raise AskError(f"{suite}: scorer {found.specs[0].metric} scores none of the right answers: {why}")


def _described(source: str, suite: Suite) -> dict[str, Any]:
    return {
        "suite": source,
        "task": suite.task,
        "items": len(suite.items),
        "min_items": suite.min_items,
        "metrics": [spec.metric for spec in suite.specs],
        "summary": suite.summary,
        "licence": suite.licence,
        "source": suite.source,
        "digest": suite.digest,
        "embedder": None if suite.embedder is None else suite.embedder.document(),
        "judge": suite.judge.document() if suite.judge is not None and suite.asks_judge else None,
    }


def _one_line(text: str) -> str:
    """A text on one line of a terminal, without what could steer it."""
    plain = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return plain if len(plain) <= 200 else f"{plain[:200]}..."
