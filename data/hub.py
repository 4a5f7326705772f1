"""A model hub's repository named with its commit, and the errors of the hub's client in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from ..core.errors import AskError, NeedsError, OpswrightError

COMMIT = re.compile(r"[0-9a-f]{40}")
_QUERY = re.compile(r"(\w+://[^\s?'\"]*)\?[^\s'\"]*")
TIMEOUT_S = 20.0


def why_not(error: BaseException) -> str:
    """An error of a client on one line, without queries: an address one was redirected to may be signed."""
    said = (str(error).splitlines() or [""])[0]
    return _QUERY.sub(r"\1?...", f"{type(error).__name__}: {said}")[:200]


@contextmanager
def hub_errors(name: str, repository: str, revision: str, endpoint: str, instead: str) -> Iterator[None]:
    """Tell errors of the hub's client in words a person can act on: AskError and NeedsError.

    name: how a person called it, as in `base 'hf:owner/name'`. instead: what to give where no hub is reached.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise NeedsError(
            f"{name} is gated: accept its licence at {endpoint}, then set HF_TOKEN or run `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise AskError(f"{name}: {repository} has no revision '{revision}' at {endpoint}.") from error
    except RepositoryNotFoundError as error:
        raise AskError(
            f"{name} not found at {endpoint} (or it is private: set HF_TOKEN). Check owner and name."
        ) from error
    except OpswrightError:
        raise
    except Exception as error:  # the client's HTTP library has errors of its own for a hub that is not there
        why = why_not(error)
        if isinstance(error, HfHubHTTPError) and not isinstance(error, LocalEntryNotFoundError):
            raise NeedsError(
                f"{name}: {endpoint} answered with an error ({why}). Try again later."
            ) from error
        raise NeedsError(
            f"{name} is not in this workspace and {endpoint} cannot be reached ({why}). Go online, set "
            f"HF_ENDPOINT to a hub that can be reached, or give {instead}."
        ) from error
