"""YAML from outside, read strictly: names once, no aliases or tags, bounded size and depth, plain numbers.

A file that a person reads one way must not be taken in another: the last of two equal names does not win.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import AskError
from .files import read_at_most

if TYPE_CHECKING:
    import yaml

MAX_BYTES = 1 << 20
MAX_DEPTH = 100
_PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_is_text = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-9.]+)+)").fullmatch  # 010 were 8, and 1:30 were 90


@dataclass(frozen=True)
class YamlText:
    """What a YAML text says; `lines` maps a dotted path to its line."""

    data: Any
    lines: Mapping[str, int]


def read_yaml(path: Path, what: str) -> YamlText:
    """A file's YAML; AskError for what is missing, too large, not text or not strict YAML.

    what: what such a file is called, as in "plan file".
    """
    try:
        if path.is_dir():
            raise AskError(f"{path} is a folder, not a {what}. Name a file in it.")
        if not path.is_file():
            raise AskError(f"no {what} at {path} (looked from {Path.cwd()}). Check the path.")
        text = read_at_most(path, MAX_BYTES, what).decode("utf-8")
    except OSError as error:
        raise AskError(f"cannot read the {what} {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise AskError(f"{path} is not UTF-8 text: {error}. A {what} is YAML.") from error
    return parse_yaml(text, path.name)


def parse_yaml(text: str, name: str) -> YamlText:
    """What a text says; AskError names the line of what is wrong. No text at all is None."""
    import yaml

    _refuse_deep(text, name)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise AskError(f"{name}{line}: not valid YAML: {getattr(error, 'problem', error)}") from error
    builder = _Builder(name)
    data = builder.build(node, "") if node is not None else None
    return YamlText(data, builder.lines)


def _refuse_deep(text: str, name: str) -> None:
    """AskError for YAML nested deeper than any such file is, before anything is built from it."""
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    line = event.start_mark.line + 1 if event.start_mark else 0
                    raise AskError(f"{name}, line {line}: nested deeper than {MAX_DEPTH} levels.")
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                depth -= 1
    except yaml.YAMLError:
        return  # said with its place when the text is built


class _Builder:
    """Builds plain values from YAML nodes, noting each path's line; names are unique, nodes used once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[str, int] = {}
        self._seen: set[int] = set()

    def build(self, node: yaml.Node, path: str) -> Any:
        """The node's value."""
        import yaml

        line = node.start_mark.line + 1
        if id(node) in self._seen:  # expanding aliases can grow a small file without bound
            raise AskError(
                f"{self.name}, line {line}: YAML anchors and aliases are not supported; write it out."
            )
        self._seen.add(id(node))
        self.lines.setdefault(path, line)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN:
            tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
            raise AskError(f"{self.name}, line {line}: the tag '{tag[:40]}' is not supported; take it out.")
        if isinstance(node, yaml.MappingNode):
            built: dict[str, Any] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise AskError(f"{self.name}, line {key.start_mark.line + 1}: a name must be plain text.")
                word = str(key.value)
                if word in built:
                    raise AskError(f"{self.name}, line {key.start_mark.line + 1}: '{word}' is given twice.")
                at = f"{path}.{word}".strip(".")
                self.lines[at] = key.start_mark.line + 1
                built[word] = self.build(value, at)
            return built
        if isinstance(node, yaml.SequenceNode):
            return [self.build(value, f"{path}.{index}") for index, value in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        import yaml

        where = f"{self.name}, line {node.start_mark.line + 1}"
        written = str(node.value)[:40]
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node)
        except Exception as error:  # each tag fails in its own way on what it cannot read
            tag = str(node.tag).rpartition(":")[2]
            raise AskError(f"{where}: '{written}' cannot be read as {tag}.") from error
        if isinstance(value, datetime.date) or (isinstance(value, int | float) and _is_text(node.value)):
            return node.value  # a date is text, and so is what is only YAML's own way to write a number
        if not isinstance(value, str | int | float | None):
            raise AskError(f"{where}: '{written}' is {type(value).__name__}, not plain text or a number.")
        if isinstance(value, float) and not math.isfinite(value):
            raise AskError(f"{where}: '{written}' is not a finite number.")
        return value
