"""What is wrong with a shared cache: one sentence, what to do, and nothing that might be a
credential.

The errors of the store's library are long: they hold addresses with queries, the server's answer,
and a dump. Taken from them is what kind of failure it is, and what the server calls it.
"""

from __future__ import annotations

import re

from targets.foreign_text import one_line

_LONGEST = 200
_DUMP = "Debug source"
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*([A-Za-z.]{1,60})|\"reason\":\s*\"(\w{1,60})\"")
_MESSAGE = re.compile(r"<Message>\s*([^<\n]{1,400})|\"message\":\s*\"([^\"\n]{1,400})")
_QUERY = re.compile(r"\?[^\s\"')<>]*")
_SECRET = re.compile(r"((?:key|sig|signature|secret|token|password)\w*[=:]\s*)\S+", re.IGNORECASE)
_IDENTITY = re.compile(r"token request|/latest/api/token|/latest/meta-data/|computeMetadata")
"""Where the library asks for credentials when the environment has none."""
_REFUSED = re.compile(
    r"status code: 40[13]\b|[Pp]ermission ?denied|os error 13\b|os error 30\b"
    r"|ExpiredToken|InvalidToken|InvalidAccessKeyId|Invalid Access Key"
)
_NO_BUCKET = re.compile(
    r"NoSuchBucket|ContainerNotFound|[Bb]ucket does not exist|bucket not found"
    r"|canonicalize filesystem root"
)
_DOWN = (
    ("dns error", "its name is not known"),
    ("ConnectionRefused", "nobody listens at its address"),
    ("InvalidCertificate", "its certificate is not trusted"),
    ("BadScheme", "an address of it does not begin with https://"),
    ("InvalidContentType", "it does not speak TLS"),
    ("TimedOut", "it does not answer"),
    ("Timeout", "it does not answer"),
    ("Connect", "no connection is made"),
    ("Request", "the connection broke"),
    ("Interrupted", "the connection broke"),
    ("Decode", "the connection broke"),
)
"""What the library's dump of a failed connection holds, and what that means; the first one counts.
"""

_ADVICE = {
    "az": "run `az login`, or set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or the "
    "AZURE_CLIENT_ variables; an identity needs the role Storage Blob Data Reader, to push "
    "Contributor",
    "s3": "run `aws sso login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, and AWS_REGION; they need s3:GetObject and s3:ListBucket, to push "
    "s3:PutObject",
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
    "file": "let whoever builds read the folder, and to push write it",
}
"""What gives rights, by scheme."""
_PLACE = {"az": "container", "s3": "bucket", "gs": "bucket", "file": "folder"}


class RemoteFailed(Exception):
    """The shared cache cannot be used; nothing else is asked of it in this command."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class RemoteRefused(RemoteFailed):
    """It does not let these credentials do that."""


def scheme_of(address: str) -> str:
    """Return what stands before ``://``."""
    return address.partition("://")[0]


def has_no_bucket(error: BaseException) -> bool:
    """Return whether not only an object is missing, but all that it would be in."""
    return _NO_BUCKET.search(str(error)) is not None


def explain(address: str, error: BaseException) -> RemoteFailed:
    """Return what an error of the store's library means for the user."""
    scheme = scheme_of(address)
    text = str(error)
    if has_no_bucket(error):
        place = _PLACE[scheme]
        return RemoteFailed(
            f"the {place} of the shared cache {address} does not exist",
            f"make the {place}, or mend `remote` in [cache]",
        )
    if _IDENTITY.search(text.partition(_DUMP)[0]):
        return RemoteRefused(f"there are no credentials for {address}", _ADVICE[scheme])
    said = _said(text)
    if _REFUSED.search(text):
        return RemoteRefused(f"{address} refuses these credentials: {said}", _ADVICE[scheme])
    if _STATUS.search(text):
        later = "try again later, or look at what the server says; what is done is kept"
        return RemoteFailed(f"{address} cannot be used: {said}", later)
    why = _why_down(text)
    if why is not None:
        return RemoteFailed(
            f"the shared cache {address} cannot be reached: {why}",
            "look at the network, at proxies, and at the address in [cache]",
        )
    return RemoteFailed(f"{address} cannot be used: {said}", _ADVICE[scheme])


def _why_down(text: str) -> str | None:
    dump = text.partition(_DUMP)[2]
    if "HttpError" not in dump and "reqwest" not in dump:
        return None
    return next((why for word, why in _DOWN if word in dump), "the connection broke")


def _said(text: str) -> str:
    """Return what the server, or else the library, says: short, and without secrets."""
    status, code, message = (each.search(text) for each in (_STATUS, _CODE, _MESSAGE))
    if status is None:
        return harmless(text.partition(_DUMP)[0])
    name = next((group for group in code.groups() if group), "") if code else ""
    told = next((group for group in message.groups() if group), "") if message else ""
    first = " ".join(part for part in (status[1], name) if part)
    return f"{first}: {harmless(told)}" if told else first


def harmless(text: str) -> str:
    """Return ``text`` as one short line, without queries of addresses and other secrets."""
    line = one_line(text.strip())
    line = _SECRET.sub(r"\1***", _QUERY.sub("?***", line)).strip()
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."
