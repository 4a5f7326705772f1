"""Watches of one job: the cluster tells at once that something happened, so that nobody has to ask so often.

A watch never says how a job stands. It only has the job looked at, so nothing is lost when it is refused,
cut or silent: while one of them does not run, the job is looked at as often as without.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from .client import EVENTS, PODS, ApiError, ClusterApi, Json, Kind, Stream

_WATCH_S = 290  # after which the server ends it, and it goes on by another request
_LONG_S = 30.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_JOB, _PODS = "job", "pods"  # others are of events, by the uid of what they tell of
_FOR_GOOD = (HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED)  # no right to watch, or a proxy without


class JobWatches:
    """The watches of a job, its pods, and of events while its last pod has not begun."""

    def __init__(self, cluster: ClusterApi, kind: Kind, name: str, uid: str, pod_labels: str) -> None:
        self._cluster = cluster
        self._happened = threading.Event()
        self._lock = threading.Lock()
        self._is_closed = False
        self._watches: dict[str, _Watch] = {}
        self._job_uid = uid
        self._start(_JOB, kind, fields=f"metadata.name={name}")
        self._start(_PODS, PODS, labels=pod_labels, seen=self._saw_pod)
        self._start(uid, EVENTS, fields=f"involvedObject.uid={uid}")

    def happened(self) -> bool:
        """Whether anything happened since the last call."""
        if not self._happened.is_set():
            return False
        self._happened.clear()
        return True

    @property
    def is_alive(self) -> bool:
        """Whether the cluster would tell whatever happens next."""
        with self._lock:
            return all(watch.is_connected for watch in self._watches.values())

    def close(self) -> None:
        """End them all."""
        with self._lock:
            self._is_closed = True
            watches = list(self._watches.values())
        for watch in watches:
            watch.close()

    def _saw_pod(self, pod: Json) -> None:
        """Watch what is said of a pod that has not begun; nothing more is said of the job then."""
        uid, is_waiting = pod["metadata"]["uid"], pod.get("status", {}).get("phase", "Pending") == "Pending"
        with self._lock:
            told_of = [key for key in self._watches if key not in (_JOB, _PODS)]
            over = [key for key in told_of if (key != uid if is_waiting else key in (uid, self._job_uid))]
            watches = [self._watches.pop(key) for key in over]
        for watch in watches:
            watch.close()
        if is_waiting:
            self._start(uid, EVENTS, fields=f"involvedObject.uid={uid}")

    def _start(
        self,
        key: str,
        kind: Kind,
        labels: str = "",
        fields: str = "",
        seen: Callable[[Json], None] = lambda thing: None,
    ) -> None:
        with self._lock:
            if not self._is_closed and key not in self._watches:
                watch = _Watch(self._cluster, kind, labels, fields, seen, self._happened)
                self._watches[key] = watch


class _Watch:
    """One watch in a thread: lists, goes on from there, and lists again when the server forgot that."""

    def __init__(
        self,
        cluster: ClusterApi,
        kind: Kind,
        labels: str,
        fields: str,
        seen: Callable[[Json], None],
        happened: threading.Event,
    ) -> None:
        self.is_connected = False
        self._cluster = cluster
        self._kind, self._labels, self._fields = kind, labels, fields
        self._seen = seen
        self._happened = happened
        self._version = ""  # of the last thing that was told; empty: a list is due
        self._over = threading.Event()
        self._stream: Stream | None = None
        threading.Thread(target=self._run, name=f"watch of {kind.plural}", daemon=True).start()

    def close(self) -> None:
        """End it; its thread may need a moment."""
        self._over.set()
        self.is_connected = False
        if (stream := self._stream) is not None:
            stream.close()

    def _run(self) -> None:
        """Watch again and again: at once after a long one, later and later after short ones."""
        wait_s = _FIRST_WAIT_S
        while not self._over.is_set():
            began, asked_s = time.monotonic(), 0.0
            try:
                self._follow()
            except ApiError as error:
                if error.code in _FOR_GOOD:
                    break
                asked_s = error.retry_after_s
                if error.code == HTTPStatus.GONE:
                    self._version = ""
            if time.monotonic() - began > _LONG_S:
                wait_s = _FIRST_WAIT_S
                continue
            self.is_connected = False
            self._over.wait(max(asked_s, wait_s))
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        self.is_connected = False

    def _follow(self) -> None:
        """List, unless it is known where to go on, and watch until the server ends that."""
        if not self._version:
            things, self._version = self._cluster.list_version(self._kind, self._labels, self._fields)
            self._tell(*things)
        with self._cluster.watch(
            self._kind, self._version, self._labels, self._fields, _WATCH_S
        ) as self._stream:
            self.is_connected = not self._over.is_set()
            for change, thing in self._stream if self.is_connected else ():
                self._version = thing["metadata"]["resourceVersion"]
                if change != "BOOKMARK":
                    self._tell(thing)

    def _tell(self, *things: Json) -> None:
        for thing in things:
            if not self._over.is_set():
                self._seen(thing)
        self._happened.set()
