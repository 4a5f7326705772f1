"""A cluster's API through its official client: objects as plain data, errors in words."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...core.errors import BackendError, HeldError, NeedsError, OpswrightError
from .objects import FIELD_OWNER, Manifest

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_CALL_S = 30
_PLURALS = {
    "ConfigMap": ("v1", "configmaps"),
    "Secret": ("v1", "secrets"),
    "Service": ("v1", "services"),
    "ServiceAccount": ("v1", "serviceaccounts"),
    "Pod": ("v1", "pods"),
    "Deployment": ("apps/v1", "deployments"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers"),
    "ScaledObject": ("keda.sh/v1alpha1", "scaledobjects"),
    "ServiceMonitor": ("monitoring.coreos.com/v1", "servicemonitors"),
    "InferenceService": ("serving.kserve.io/v1beta1", "inferenceservices"),
}
KINDS = tuple(kind for kind in _PLURALS if kind not in ("Pod", "Secret"))
_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


def open_client(context: str) -> ApiClient:
    """The official client for a context of the kubeconfig (empty: the current one), or from inside a pod."""
    from kubernetes import config
    from kubernetes.client import ApiClient

    try:
        # named here, since the client itself looks for KUBECONFIG once, when it is imported
        return config.new_client_from_config(os.environ.get("KUBECONFIG"), context or None)
    except config.ConfigException as error:
        if not context:
            try:
                config.load_incluster_config()
                return ApiClient()
            except config.ConfigException:
                pass
        raise NeedsError(
            f"no cluster can be reached: {error}. Set KUBECONFIG to its file, or name a context that it has."
        ) from error


class Cluster:
    """One namespace of a cluster."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._client = client
        self.namespace = namespace

    def get(self, kind: str, name: str) -> Manifest | None:
        """An object as it is now; None when there is none."""
        path = _path(kind, self.namespace, name)
        found: Manifest | None = self._call("GET", path, f"reading {kind} {name}", absent=True)
        return found

    def exists(self, kind: str, name: str) -> bool:
        """Whether an object is there; of a Secret, nothing that it holds is asked for."""
        headers = {"Accept": _METADATA_ONLY}
        path = _path(kind, self.namespace, name)
        return self._call("GET", path, f"looking for {kind} {name}", headers=headers, absent=True) is not None

    def has_kind(self, kind: str) -> bool:
        """Whether the cluster knows a kind: those of other projects must be installed."""
        api = _PLURALS[kind][0]
        prefix = f"/apis/{api}" if "/" in api else f"/api/{api}"
        return self._call("GET", prefix, f"looking for {api}", absent=True) is not None

    def objects(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        """The objects of a kind that have all these labels; none where the cluster has no such kind."""
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        path = _path(kind, self.namespace)
        found = self._call("GET", path, f"listing {kind}s", query=[("labelSelector", selector)], absent=True)
        items: list[Manifest] = [] if found is None else found["items"]
        return [{**item, "kind": kind} for item in items]

    def apply(self, manifest: Manifest, *, force: bool = False, only_try: bool = False) -> Manifest:
        """Server-side apply; with `only_try`, the server checks it as if, and changes nothing.

        HeldError when somebody else owns a field that it would change.
        """
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        query = [
            ("fieldManager", FIELD_OWNER),
            ("fieldValidation", "Strict"),
            ("force", str(force).lower()),
            *([("dryRun", "All")] if only_try else []),
        ]
        headers = {"Content-Type": "application/apply-patch+yaml"}
        path = _path(kind, self.namespace, name)
        return dict(
            self._call("PATCH", path, f"applying {kind} {name}", query=query, headers=headers, body=manifest)
            or {}
        )

    def delete(self, kind: str, name: str) -> None:
        """Remove an object and what it owns; one that is gone is no error."""
        query = [("propagationPolicy", "Background")]
        self._call(
            "DELETE", _path(kind, self.namespace, name), f"removing {kind} {name}", query=query, absent=True
        )

    def ask_pod(self, pod: str, port: int, path: str) -> tuple[int, Any]:
        """Status and JSON of what a pod answers to GET, through the API server; 0 and a text for none."""
        address = f"{_path('Pod', self.namespace, f'{pod}:{port}')}/proxy{path}"
        try:
            return HTTPStatus.OK, self._call("GET", address, f"asking pod {pod}")
        except OpswrightError as error:
            return 0, str(error)

    def _call(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        query: list[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        absent: bool = False,
    ) -> Any:
        """The JSON of one call; None for what is not there, where `absent` allows that."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            reply = self._client.call_api(
                path,
                method,
                query_params=query or [],
                header_params={"Accept": "application/json", **(headers or {})},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=_CALL_S,
            )
            return json.loads(reply.data)
        except ApiException as error:
            if absent and error.status == HTTPStatus.NOT_FOUND:
                return None
            raise _refused(error.status, error.body, error.reason, doing) from error
        except (HTTPError, OSError) as error:
            raise BackendError(f"the cluster does not answer ({doing}): {error}") from error
        except ValueError as error:
            raise BackendError(f"the cluster's answer cannot be read ({doing}): {error}") from error


def _refused(status: int | None, body: str | bytes | None, reason: str | None, doing: str) -> OpswrightError:
    """What the API server says, by who must act."""
    try:
        found = json.loads(body or "{}")
        message = str(found.get("message") or reason)
    except (ValueError, AttributeError):
        message = str(reason)
    if status == HTTPStatus.CONFLICT:
        return HeldError(
            f"somebody else changes what this would change ({doing}): {message}. Agree with them, or apply "
            "with take_over=true."
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return NeedsError(f"the cluster does not allow it ({doing}): {message}. Ask for the right to do it.")
    return BackendError(f"the cluster refused ({doing}, status {status}): {message}")


def _path(kind: str, namespace: str, name: str = "") -> str:
    api, plural = _PLURALS[kind]
    prefix = f"/apis/{api}" if "/" in api else f"/api/{api}"
    found = f"{prefix}/namespaces/{quote(namespace)}/{plural}"
    return f"{found}/{quote(name, safe=':')}" if name else found
