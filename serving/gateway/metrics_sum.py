"""Metrics of several workers added up, and kept over the death of one: a counter that is told never falls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.files import canonical_json, write_atomically

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector

Labels = tuple[tuple[str, str], ...]
Series = dict[tuple[str, Labels], float]  # by a sample's name and labels
Snapshot = dict[str, dict[str, Any]]  # by family: its type, what it says, and its samples
_LASTING = frozenset({"counter", "histogram"})
_CREATED = "_created"


def taken(registry: Collector) -> Snapshot:
    """The series of a registry, as JSON may hold them."""
    return {
        family.name: {
            "type": family.type,
            "says": family.documentation,
            "samples": [[sample.name, dict(sample.labels), sample.value] for sample in family.samples],
        }
        for family in registry.collect()
    }


def lasting(snapshot: Snapshot) -> Snapshot:
    """Only what counts what happened: that holds after its worker's death."""
    return {name: family for name, family in snapshot.items() if family["type"] in _LASTING}


def summed(snapshots: Sequence[Snapshot], largest: Iterable[str] = ()) -> Snapshot:
    """Families added up by their labels. largest: those of which the largest value is told, not the sum."""
    found: Snapshot = {}
    for name in dict.fromkeys(name for snapshot in snapshots for name in snapshot):
        parts = [snapshot[name] for snapshot in snapshots if name in snapshot]
        series: Series = {}
        for sample, labels, value in (row for part in parts for row in part["samples"]):
            key = (sample, tuple(sorted(labels.items())))
            add = _added(sample, name in largest)
            series[key] = add(series[key], value) if key in series else value
        samples = [[sample, dict(labels), value] for (sample, labels), value in series.items()]
        found[name] = {**parts[0], "samples": samples}
    return found


def _added(sample: str, is_largest: bool) -> Callable[[float, float], float]:
    if sample.endswith(_CREATED):
        return min
    return max if is_largest else _plus


def _plus(one: float, other: float) -> float:
    return one + other


def without(snapshot: Snapshot, labels: Mapping[str, str]) -> Snapshot:
    """The snapshot without the series that have these labels."""
    wanted = labels.items()
    return {
        name: {**family, "samples": [row for row in family["samples"] if not wanted <= row[1].items()]}
        for name, family in snapshot.items()
    }


def as_text(snapshot: Snapshot) -> bytes:
    """A snapshot in Prometheus' text form."""
    from prometheus_client import generate_latest

    return bytes(generate_latest(_Told(snapshot)))


class _Told:
    """A snapshot as a registry that tells it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        from prometheus_client import Metric

        for name, family in self._snapshot.items():
            metric = Metric(name, family["says"], family["type"])
            for sample, labels, value in family["samples"]:
                metric.add_sample(sample, labels, value)
            yield metric


class KeptMetrics:
    """What a worker told last, in a file. It is there before it is told, so that no successor tells less."""

    def __init__(self, path: Path, supervisor: int) -> None:
        self.path = path
        self._supervisor = supervisor

    def keep(self, snapshot: Snapshot) -> None:
        """Write what is about to be told; what cannot be written (full disk) is told all the same."""
        with suppress(OSError):
            write_atomically(
                self.path, canonical_json({"supervisor": self._supervisor, "families": lasting(snapshot)})
            )

    def read(self) -> Snapshot:
        """What was told last under this supervisor; nothing where that is not known."""
        try:
            found = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(found, dict) or found.get("supervisor") != self._supervisor:
            return {}
        return dict(found["families"])
