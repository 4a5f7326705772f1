"""What a suite is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ...core.errors import AskError, did_you_mean
from ...core.files import sha256_json
from ...data.sample import Sample, Task


@dataclass(frozen=True)
class Suite:
    """Named items with their right answers, as the source spells them.

    `groups` names sets of domains that are reported as one slice; `task` decides how answers are compared.
    """

    name: str
    items: tuple[Sample, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    task: Task = "classify"

    @cached_property
    def digest(self) -> str:
        """64 hex digits over every item: reports with the same digest may be compared item by item."""
        items = [item.document() for item in self.items]
        return sha256_json({"suite": self.name, "task": self.task, "items": items})

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Every right answer once, as the source spells it, sorted."""
        return tuple(sorted({item.answer for item in self.items if item.answer is not None}))

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """The items' domains in the source's order; empty when it has none."""
        return tuple(dict.fromkeys(item.tags["domain"] for item in self.items if "domain" in item.tags))

    def slices(self, extra: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, frozenset[str]]:
        """Slice name -> its domains: each domain, the suite's own groups, then `extra` (which wins).

        Raises AskError for a domain the suite has not, and for a slice without any.
        """
        named = {name: frozenset((name,)) for name in self.domains}
        for name, domains in {**self.groups, **(extra or {})}.items():
            self.check_domains(domains, f"slice '{name}'")
            if not domains:
                raise AskError(f"slice '{name}' is empty: name at least one domain.")
            named[name] = frozenset(domains)
        return named

    def check_domains(self, domains: tuple[str, ...], asked_by: str) -> None:
        """AskError naming the first domain that the suite does not have."""
        for domain in domains:
            if domain not in self.domains:
                known = f"it has: {', '.join(self.domains)}" if self.domains else "it has no domains"
                raise AskError(
                    f"{asked_by}: domain '{domain}' is not in suite {self.name} ({known})."
                    + did_you_mean(domain, self.domains)
                )
