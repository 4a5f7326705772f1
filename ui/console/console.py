"""What every page of the console shares: the workspace, the registry, and who is asking."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.contract import Effect
from ...core.errors import AskError, HeldError
from ...core.principal import Principal
from ...core.registry import Registry
from ...core.settings import Settings, load_settings
from ...core.workspace import Workspace
from ...record.ledger import Ledger
from .auth.users import Person
from .uploads import KEPT

if TYPE_CHECKING:
    from ...agents.agent import Agent
    from ...agents.month_budget import MonthLeft, MonthSpending
    from ...record.index import LedgerIndex
    from ...record.run_state import RunState


@dataclass
class Console:
    """One console on one workspace."""

    registry: Registry
    settings: Settings
    users: Mapping[str, Person] | None = None  # None: no login, everyone is who started the console
    logins: Mapping[str, str] = field(default_factory=dict)  # login token -> name, for those who are in
    cookie: str = ""  # name of the cookie that holds the token
    at_start: list[Callable[[], object]] = field(default_factory=list)  # what pages do once it is served
    at_end: list[Callable[[], object]] = field(default_factory=list)  # what pages release when it ends

    def start(self) -> None:
        """It is served: do what pages do then."""
        for begin in self.at_start:
            begin()

    def close(self) -> None:
        """Release what only this console uses; runs continue."""
        while self.at_end:
            self.at_end.pop()()

    @property
    def workspace(self) -> Workspace:
        """The workspace, for reading."""
        return Workspace(self.settings)

    @cached_property
    def month_spending(self) -> MonthSpending:
        """What was spent this month, kept up to date with the ledger."""
        from ...agents.month_budget import MonthSpending

        return MonthSpending(self.workspace)

    def months_left(self, person: str) -> list[MonthLeft]:
        """What the month's budgets have left for a person's runs; AskError for a policy that is none."""
        from ...agents.month_budget import months_left
        from ...agents.policy import policy_of

        policy = policy_of(self.workspace, self.registry)
        return months_left(self.workspace, policy, person, self.month_spending)

    def void_of(self, run: RunState) -> str:
        """That consent to a run's plan counts no more, and why; by the settings that a worker would find."""
        from ...agents.run_settings import changed_settings, deciding
        from ...agents.void import void_in_words, void_reasons

        try:
            now = Workspace(load_settings(home=self.workspace.root))
            reasons = void_reasons(now, run)
            is_old = deciding(now.settings) != deciding(self.settings)
            if reasons and is_old and changed_settings(now, run):
                reasons.append(
                    "this console was started before that; restart it to plan with what is in force"
                )
            return void_in_words(reasons)
        except (AskError, ValueError) as error:  # settings that do not read: no step would begin
            return void_in_words([str(error)])

    @cached_property
    def records(self) -> LedgerIndex:
        """The ledger's records as pages look them up."""
        from ...record.index import LedgerIndex

        return LedgerIndex(Ledger.of(self.workspace))

    def person(self, request: Any) -> Person:
        """Who sent a request (of Gradio or Starlette); HeldError when login is asked for and nobody is."""
        if self.users is None:
            return Person(self.settings.actor, self.settings.role)
        cookies = getattr(request, "cookies", None) or {}
        name = getattr(request, "username", None) or self.logins.get(cookies.get(self.cookie, ""), "")
        if name not in self.users:
            raise HeldError("log in to continue.")
        return self.users[name]

    def settings_of(self, person: Person) -> Settings:
        """The settings in force when a person acts."""
        return self.settings.model_copy(update={"actor": person.name, "role": person.role})

    def agent(self, person: Person, **options: Any) -> Agent:
        """The agent, acting for a person."""
        from ...agents.agent import Agent

        workspace = Workspace(self.settings_of(person))
        return Agent(workspace, self.registry, acting=self.principal(person), **options)

    def may_change(self, person: Person) -> bool:
        """Whether a person may run anything that does more than read."""
        agent = self.agent(person)
        grants = [agent.policy.rules.roles[role] for role in agent.principal.roles]
        return any(set(grant.run) - {Effect.READS} for grant in grants)

    def check_may_change(self, person: Person, what: str) -> None:
        """HeldError for who may run nothing that changes anything."""
        if not self.may_change(person):
            raise HeldError(f"role '{person.role}' may not {what}.")

    def check_may_propose(self, person: Person, what: str) -> None:
        """HeldError for who may propose nothing that changes anything."""
        agent = self.agent(person)
        grants = [agent.policy.rules.roles[role] for role in agent.principal.roles]
        if not any(set(grant.propose) - {Effect.READS} for grant in grants):
            raise HeldError(f"role '{person.role}' may not {what}.")

    def check_within_project(self, path: Path) -> None:
        """AskError for a file that who logs in may not have read out: one of the machine, or the workspace's.

        Without logins everybody is who started the console, and may read what that person may.
        """
        if self.users is None:
            return
        project, home = Path.cwd().resolve(), self.workspace.root.resolve()
        place = path.resolve()
        is_ours = place.is_relative_to(project) and not place.is_relative_to(home)
        if not is_ours and not place.is_relative_to(home / KEPT):
            raise AskError(
                f"'{str(path)[:80]}' is no file of this project. Where people log in, the chat reads plans "
                f"below {project} and those that were uploaded."
            )

    def principal(self, person: Person) -> Principal:
        """A person as records and the policy name them: by their login, or as whoever runs the console."""
        if self.users is None:
            return Principal.of_os_user(person.name, (str(person.role),))
        return Principal(person.name, (str(person.role),), "console login")
