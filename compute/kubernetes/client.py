"""One namespace of a Kubernetes cluster, through the official client.

Opened from the settings: a kubeconfig and its context, or the service account of the pod this runs in. What
goes to the API and comes from it is plain JSON, so one code serves built-in kinds and custom resources.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from ...core.errors import AskError, BackendError, NeedsError, did_you_mean
from ..manifests import INSTALL, NEWEST, OLDEST

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

    from ...core.settings.compute import ClusterSettings

Json: TypeAlias = dict[str, Any]

_AGAIN = {HTTPStatus.TOO_MANY_REQUESTS, *(HTTPStatus(code) for code in (500, 502, 503, 504))}
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0
_LONGEST_SILENCE_S = 120.0  # of a watch: bookmarks come each minute
_PIECE_BYTES = 1 << 16
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ApiError(BackendError):
    """The cluster's API refused a request, or was not reached (`code` 0)."""

    def __init__(self, message: str, code: int = 0, reason: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after_s = retry_after_s

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be taken later: nobody replied, or it was too much at once."""
        return self.code == 0 or self.code in _AGAIN


@dataclass(frozen=True)
class Kind:
    """A kind of object as the API's paths name it; group '' for pods and other core kinds."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str, name: str = "") -> str:
        """The path of all of them in a namespace, or of one."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{quote(namespace, safe='')}/{self.plural}" + (
            f"/{quote(name, safe='')}" if name else ""
        )


JOBS = Kind("batch", "v1", "jobs")
TRAIN_JOBS = Kind("trainer.kubeflow.org", "v1alpha1", "trainjobs")
PODS = Kind("", "v1", "pods")
EVENTS = Kind("", "v1", "events")


@dataclass(frozen=True)
class ClusterAddress:
    """Which namespace of which cluster: the API server's address, and the context that led there."""

    server: str
    namespace: str
    context: str = ""

    def __str__(self) -> str:
        where = f"context {self.context}" if self.context else self.server
        return f"namespace {self.namespace} of {where}"


class ClusterApi:
    """Requests to one namespace. Each takes `timeout_s` at most, and ApiError says what became of it.

    What changes something is asked again while the API is busy or away, for `timeout_s` in all: objects are
    named by the caller, so that a request which arrived twice is a conflict and never a second object.
    """

    def __init__(
        self,
        api: ApiClient,
        address: ClusterAddress,
        timeout_s: float,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._api = api
        self._timeout_s = timeout_s
        self._pause = pause
        self._clock = clock

    def version(self) -> str:
        """The cluster's version as `1.34`, or the nearest one whose schemas are there."""
        found = self._request("GET", "/version")
        said = re.match(r"v?(\d+)\.(\d+)", f"{found.get('major')}.{found.get('minor')}")  # minor may be 34+
        own = (int(said[1]), int(said[2])) if said else NEWEST
        return ".".join(map(str, min(max(own, OLDEST), NEWEST)))

    def create(self, kind: Kind, manifest: Mapping[str, Any], dry_run: bool = False) -> Json:
        """Create an object; with `dry_run` everything is checked and nothing kept. Code 409: it exists."""
        query = {"dryRun": "All"} if dry_run else {}
        path = kind.path(self.address.namespace)
        return self._patiently(lambda: self._request("POST", path, query, manifest))

    def read(self, kind: Kind, name: str) -> Json | None:
        """An object; None when there is none of that name."""
        try:
            return self._request("GET", kind.path(self.address.namespace, name))
        except ApiError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def list(self, kind: Kind, labels: str = "", fields: str = "") -> list[Json]:
        """The objects that selectors of labels and fields pick."""
        return [*self.list_version(kind, labels, fields)[0]]

    def list_version(self, kind: Kind, labels: str = "", fields: str = "") -> tuple[Sequence[Json], str]:
        """The same, and the version of the list, from which a watch goes on."""
        found = self._request("GET", kind.path(self.address.namespace), _selectors(labels, fields))
        return found.get("items") or [], str((found.get("metadata") or {}).get("resourceVersion", ""))

    def watch(self, kind: Kind, version: str, labels: str, fields: str, for_s: int) -> Stream:
        """What happens to objects after a version, for at most `for_s`; code 410 when that is forgotten."""
        query = {
            **_selectors(labels, fields),
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(for_s),
        }
        path = kind.path(self.address.namespace)
        silent_s = min(for_s + self._timeout_s, _LONGEST_SILENCE_S)
        with self._reaching("GET", path):
            reply = self._open("GET", path, query, None, (self._timeout_s, silent_s))
        return Stream(reply, lambda: self._reaching("GET", path))

    def delete(self, kind: Kind, name: str, uid: str) -> None:
        """Delete that very object and, before it goes, what it owns; nothing when it is gone or another."""
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        path = kind.path(self.address.namespace, name)
        try:
            self._patiently(lambda: self._request("DELETE", path, body=options))
        except ApiError as error:
            if error.code not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise

    def pod_log(self, pod: str, lines: int = 200) -> str:
        """The end of what a pod wrote; what has come of it when the connection is cut."""
        path = PODS.path(self.address.namespace, pod) + "/log"
        return self._send("GET", path, {"tailLines": str(lines)}).decode(errors="replace")

    def _patiently(self, request: Callable[[], Json]) -> Json:
        until = self._clock() + self._timeout_s
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                return request()
            except ApiError as error:
                wait_s = max(error.retry_after_s, wait_s * random.uniform(1, 2))
                if not error.may_pass or self._clock() + wait_s > until:
                    raise
            self._pause(min(wait_s, _LONGEST_WAIT_S))

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Json:
        text = self._send(method, path, query, body)
        try:
            found = json.loads(text)
        except ValueError as error:
            raise ApiError(f"{self.address.server} replied to {method} {path} with no JSON.") from error
        if not isinstance(found, dict):
            raise ApiError(f"{self.address.server} replied to {method} {path} with no object.")
        return found

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> bytes:
        with self._reaching(method, path):
            data: bytes = self._open(method, path, query, body, self._timeout_s).data
            return data

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        timeout_s: float | tuple[float, float],
    ) -> Any:
        """The reply to a request, of which nothing was read yet where it came with no error."""
        return self._api.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json, */*"},
            body=None if body is None else dict(body),
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=timeout_s,
        )

    @contextmanager
    def _reaching(self, method: str, path: str) -> Iterator[None]:
        """Tell the client's errors as ApiError."""
        from kubernetes.client import ApiException
        from kubernetes.config import ConfigException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ApiException as error:
            raise _refusal(error, method, path) from error
        except (HTTPError, ConfigException, OSError) as error:
            raise ApiError(
                f"the API of {self.address} was not reached ({self.address.server}): {error}. Check it with "
                "`kubectl cluster-info`."
            ) from error


class Stream:
    """The lines of a watch as they come: what happened, and the object. As a context it ends with it."""

    def __init__(self, reply: Any, reaching: Callable[[], AbstractContextManager[None]]) -> None:
        self._reply = reply
        self._reaching = reaching

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._reply.close()

    def __iter__(self) -> Iterator[tuple[str, Json]]:
        """Until the server ends it; ApiError when it is cut, cannot be read, or with what the server says."""
        rest = b""
        with self._reaching():
            while data := self._reply.read1(_PIECE_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                for line in filter(None, lines):
                    yield _told(line)

    def close(self) -> None:
        """End it from another thread, which waits for what comes next."""
        with suppress(ValueError, RuntimeError, OSError):  # it ended by itself
            self._reply.shutdown()


def _told(line: bytes) -> tuple[str, Json]:
    """One line of a watch; ApiError for one that tells of an error, or that is none."""
    try:
        found = json.loads(line)
        change, thing = str(found["type"]), found["object"]
        if change == "ERROR":
            raise ApiError(f"Kubernetes ended a watch: {thing.get('message')}", int(thing.get("code") or 0))
        thing["metadata"]["resourceVersion"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ApiError("Kubernetes sent a line of a watch that cannot be read.") from error
    return change, thing


def _selectors(labels: str, fields: str) -> dict[str, str]:
    wanted = {"labelSelector": labels, "fieldSelector": fields}
    return {name: text for name, text in wanted.items() if text}


def open_cluster(settings: ClusterSettings) -> ClusterApi:
    """The cluster that the settings name; nothing is asked of it yet.

    NeedsError without the client, or where neither a kubeconfig nor a service account is; AskError for a
    context that the kubeconfig has not.
    """
    try:
        from kubernetes import client
        from kubernetes.config import ConfigException
        from yaml import YAMLError
    except ImportError as error:
        raise NeedsError(f"the client of Kubernetes is missing. {INSTALL}") from error
    configuration = client.Configuration()
    configuration.retries = False  # it would wait for as long as a server says
    try:
        address = _load(settings, configuration)
    except (ConfigException, OSError) as error:
        raise NeedsError(f"no access to a Kubernetes cluster: {error}. {_ACCESS}") from error
    except (YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        file = settings.kubeconfig or os.environ.get("KUBECONFIG", "~/.kube/config")
        raise NeedsError(f"{file} is no kubeconfig: {error}. {_ACCESS}") from error
    return ClusterApi(client.ApiClient(configuration), address, settings.timeout_s)


_ACCESS = (
    "Set OPSWRIGHT_COMPUTE__KUBERNETES__KUBECONFIG to a kubeconfig (`kubectl config view --raw` prints one), "
    "or run in a pod with a service account."
)


def _load(settings: ClusterSettings, configuration: Any) -> ClusterAddress:
    """Put address and credentials into the client's configuration."""
    from kubernetes import config

    file = None if settings.kubeconfig is None else str(settings.kubeconfig.expanduser())
    if file is None and not _has_kubeconfig() and "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(client_configuration=configuration)
        own = _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.is_file() else "default"
        return ClusterAddress(configuration.host, settings.namespace or own)
    contexts, current = config.list_kube_config_contexts(file)
    by_name = {one["name"]: one for one in contexts}
    name = settings.context or (current or {}).get("name", "")
    if name not in by_name:
        raise AskError(
            f"unknown Kubernetes context '{name}' (there are: {', '.join(by_name) or 'none'})."
            + did_you_mean(name, by_name)
        )
    config.load_kube_config(file, name, client_configuration=configuration, persist_config=False)
    own = by_name[name]["context"].get("namespace") or "default"
    return ClusterAddress(configuration.host, settings.namespace or own, name)


def _has_kubeconfig() -> bool:
    return bool(os.environ.get("KUBECONFIG")) or Path("~/.kube/config").expanduser().is_file()


def _refusal(error: Any, method: str, path: str) -> ApiError:
    """The API's own words (a Status object, where it is one) as an error."""
    reason, message = "", str(error.body or error.reason or "").strip()
    try:
        status = json.loads(error.body)
        reason, message = str(status.get("reason", "")), str(status["message"])
    except (TypeError, ValueError, KeyError, AttributeError):
        pass
    code = int(error.status or 0)
    if code == HTTPStatus.UNAUTHORIZED:
        message += " (the credentials have run out or are others': log in again)"
    return ApiError(
        f"Kubernetes refused {method} {path} ({code}): {message[:2000]}",
        code,
        reason,
        _retry_after_s(error.headers),
    )


def _retry_after_s(headers: Mapping[str, str] | None) -> float:
    text = str((headers or {}).get("Retry-After", ""))
    return min(float(text), _LONGEST_WAIT_S) if text.isdecimal() else 0.0
