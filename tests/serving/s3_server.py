"""An object store in a thread that speaks S3's API (moto), with keys, rights and faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
from botocore.config import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

_ROOT = {"aws_access_key_id": "root-root", "aws_secret_access_key": "root-root", "region_name": "us-east-1"}
_PLAIN = Config(retries={"total_max_attempts": 1})


@dataclass
class Fault:
    """What requests of a method to a path get: an error some times, or no reply until the test is over."""

    method: str
    part: str  # of path and query
    code: int = 503
    times: int = 1
    skip: int = 0
    holds: bool = False


class S3Server:
    """The store; `client` has every right, users made by `user` what they are given."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.held = threading.Event()  # set when a request is being held
        self._over = threading.Event()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._ask("/moto-api/reset")
        self.client = boto3.client("s3", endpoint_url=self.url, config=_PLAIN, **_ROOT)

    def close(self) -> None:
        self._over.set()
        self._ask("/moto-api/reset-auth", "inf")
        self._ask("/moto-api/reset")
        self.client.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)

    def user(self, name: str, *actions: str) -> tuple[str, str]:
        """Key id and key of a user with these rights; from now on the store checks keys and rights."""
        self._ask("/moto-api/reset-auth", "inf")
        iam = boto3.client("iam", endpoint_url=self.url, config=_PLAIN, **_ROOT)
        iam.create_user(UserName=name)
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=document)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        iam.close()
        self._ask("/moto-api/reset-auth", "0")
        return made["AccessKeyId"], made["SecretAccessKey"]

    def keys(self, bucket: str) -> set[str]:
        self._ask("/moto-api/reset-auth", "inf")
        return {one["Key"] for one in self.client.list_objects_v2(Bucket=bucket).get("Contents", ())}

    def uploads(self, bucket: str) -> list[str]:
        return [one["Key"] for one in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())]

    def _ask(self, path: str, body: str = "") -> None:
        httpx.post(self.url + path, content=body, trust_env=False).raise_for_status()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"
        self.requests.append((environ["REQUEST_METHOD"], path))
        for fault in self.faults:
            if fault.times > 0 and fault.method == environ["REQUEST_METHOD"] and fault.part in path:
                fault.skip -= 1
                if fault.skip >= 0:
                    continue
                fault.times -= 1
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                if fault.holds:
                    self.held.set()
                    self._over.wait(120)
                start(f"{fault.code} Injected", [("Content-Length", "0")])
                return [b""]
        found: Iterable[bytes] = self._app(environ, start)
        return found
