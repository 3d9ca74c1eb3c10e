"""The SDK of Azure Machine Learning: whether it is installed, and its errors in a sentence.

It takes seconds to import, so that is done on use, and by this package alone.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.util import find_spec
from typing import TYPE_CHECKING

from targets.errors import EnvironmentUnable
from targets.remote.failure import harmless
from targets.version import is_clone

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_ROLES = (
    "it needs the role AzureML Data Scientist in the workspace, and Storage Blob Data Contributor "
    "for the account of its datastore"
)
_LOG_IN = "run `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
_ADVICE = {
    400: "mend what it names, in [systems] or in the workspace",
    401: _LOG_IN,
    403: _ROLES,
    404: "are subscription, resource group, workspace and the name right, and may you see them?",
    409: "run again",
    429: "run again later: the subscription has asked too often",
}


def require_sdk() -> None:
    """Raise ``EnvironmentUnable`` if the SDK is not installed."""
    try:
        found = find_spec("azure.ai.ml") and find_spec("azure.identity")
    except ModuleNotFoundError:  # nothing of Azure's
        found = None
    if found is None:
        install = "nox -s azure" if is_clone() else 'pip install "quern[azure]"'
        raise EnvironmentUnable(
            "Azure Machine Learning is asked through its SDK, which is not installed",
            f"run `{install}`; without it, `--system local` runs the steps here, and `--model` and "
            "`--data` name copies of what lies there",
        )


def login() -> TokenCredential:
    """Return the environment's own login. Raises ``EnvironmentUnable`` without the SDK."""
    require_sdk()
    from azure.identity import DefaultAzureCredential

    credential: TokenCredential = DefaultAzureCredential()
    return credential


@contextmanager
def quiet() -> Iterator[None]:
    """Let the SDK show nothing: it tells of its experiments, and resets the terminal's colours."""
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Raise ``EnvironmentUnable`` for what Azure answers to ``what``, in words, and without the
    SDK."""
    require_sdk()
    from azure.core import exceptions

    try:
        yield
    except exceptions.ClientAuthenticationError as error:
        raise EnvironmentUnable(
            f"Azure accepts no login for {what}: {_said(error)}", _LOG_IN
        ) from None
    except exceptions.HttpResponseError as error:
        status = error.status_code or 0
        raise EnvironmentUnable(
            f"Azure refuses {what} ({status}): {_said(error)}",
            _ADVICE.get(status, "run again later; finished steps are kept"),
        ) from None
    except (exceptions.ServiceRequestError, exceptions.ServiceResponseError) as error:
        raise EnvironmentUnable(
            f"Azure cannot be reached for {what}: {_said(error)}",
            "look at the network and at proxies; finished steps are kept",
        ) from None
    except exceptions.AzureError as error:  # of the SDK itself
        raise EnvironmentUnable(f"{what} is not possible: {_said(error)}", _ADVICE[400]) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # an answer that it expects
        raise EnvironmentUnable(
            f"the SDK cannot read what Azure answers for {what}: {harmless(repr(error))}",
            "another version of azure-ai-ml may; finished steps are kept",
        ) from error


def _said(error: Exception) -> str:
    """Return the first sentence of an error, without addresses and what might be a credential."""
    inner = getattr(error, "error", None)
    text = str(getattr(inner, "message", None) or getattr(error, "message", None) or error)
    return harmless(text.strip().partition("\n")[0])
