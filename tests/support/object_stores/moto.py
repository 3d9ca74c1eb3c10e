"""moto: a stand-in for S3 that knows users, their rights, roles, and a machine's identity."""

from __future__ import annotations

import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from tests.support.object_stores.server import ObjectServer, free_port, python_packages, running

_LOCK = Path(__file__).with_name("moto.lock")
_READ_ONLY = """{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}]}"""
_SERVE = """
import threading
from moto import server

one_by_one, call = threading.Lock(), server.DomainDispatcherApplication.__call__
conditions = {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"}

def decided(self, environ, start_response):
    if environ["REQUEST_METHOD"] == "PUT" and environ.keys() & conditions:
        with one_by_one:
            return list(call(self, environ, start_response))
    return call(self, environ, start_response)

server.DomainDispatcherApplication.__call__ = decided
server.main()
"""
"""Runs moto. Between its look whether an object is there and its writing of it another request may
come: of two at once both were the first. S3 decides about them one by one."""
_EVERYTHING = _READ_ONLY.replace('["s3:GetObject", "s3:ListBucket"]', '"*"')


@contextmanager
def moto(packages: Path, folder: Path) -> Iterator[ObjectServer]:
    """Run moto, whose packages are kept in ``packages``. It lets everybody do everything."""
    installed = python_packages(_LOCK, packages)
    port = free_port()
    command = (sys.executable, "-c", _SERVE, "-H", "127.0.0.1", "-p", str(port))
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    with running(command, port, folder, environment):
        _ask(port, "s3", "PUT", "/team")
        credentials = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIAOFTHETEST",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
        }
        yield ObjectServer("s3://team", port, credentials, folder)


@contextmanager
def rights(server: ObjectServer) -> Iterator[dict[str, dict[str, str]]]:
    """Have moto look at who asks, in this block. Gives the keys of users, as variables: ``all`` may
    do everything, ``reader`` may read."""
    keys: dict[str, dict[str, str]] = {}
    for user, policy in (("all", _EVERYTHING), ("reader", _READ_ONLY)):
        iam(server.port, "CreateUser", UserName=user)
        iam(server.port, "PutUserPolicy", UserName=user, PolicyName="p", PolicyDocument=policy)
        made = iam(server.port, "CreateAccessKey", UserName=user)
        keys[user] = {
            "AWS_ACCESS_KEY_ID": _member(made, "AccessKeyId"),
            "AWS_SECRET_ACCESS_KEY": _member(made, "SecretAccessKey"),
        }
    _ask(server.port, "s3", "POST", "/moto-api/reset-auth", b"0")
    try:
        yield keys
    finally:
        _ask(server.port, "s3", "POST", "/moto-api/reset-auth", b"inf")
        for user, key in keys.items():
            iam(server.port, "DeleteUserPolicy", UserName=user, PolicyName="p")
            access = key["AWS_ACCESS_KEY_ID"]
            iam(server.port, "DeleteAccessKey", UserName=user, AccessKeyId=access)
            iam(server.port, "DeleteUser", UserName=user)


def iam(port: int, action: str, **parameters: str) -> str:
    """Ask moto's IAM."""
    asked = urlencode({"Action": action, "Version": "2010-05-08", **parameters})
    return _ask(port, "iam", "POST", "/", asked.encode())


def _ask(port: int, service: str, method: str, path: str, body: bytes = b"") -> str:
    """Ask a service of moto as nobody, which it allows until it looks at rights."""
    who = f"Credential=nobody/20260101/us-east-1/{service}/aws4_request"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=body,
        method=method,
        headers={
            "Content-Type": "application/x-www-form-urlencoded"
            if service == "iam"
            else "text/plain",
            "Authorization": f"AWS4-HMAC-SHA256 {who}, SignedHeaders=host, Signature=0",
        },
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return str(answer.read().decode())


def _member(answer: str, name: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", answer)
    assert found is not None, answer
    return found[1]
