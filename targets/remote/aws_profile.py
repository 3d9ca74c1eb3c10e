"""Profiles of AWS, which the store's library does not read: their region, and their keys.

Keys may stand in a profile. Where it names another way to them (single sign-on, a role, a process)
AWS's own command line gives them, and gives them anew when they expire.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from targets.foreign_text import one_line
from targets.remote.failure import RemoteRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore.store import S3Config, S3Credential

_CLI_SECONDS = 30
_LONGEST = 200
_OTHERWISE = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE")
"""Variables that give credentials and come before a profile, as in AWS's own tools."""
_OTHER_WAYS = ("sso_", "role_arn", "credential_process", "login_session")
"""What the names of a profile's settings begin with that lead to keys elsewhere."""


def profile_settings(address: str) -> tuple[S3Config, Callable[[], S3Credential] | None]:
    """Return what the profile of the environment says, and what gives its keys if it holds none.

    Raises ``RemoteRefused`` if it names a way to keys that leads to none.
    """
    profile = _profile()
    config: S3Config = {}
    region = profile.get("region")
    if region and not os.environ.get("AWS_REGION") and not os.environ.get("AWS_DEFAULT_REGION"):
        config["region"] = region
    if any(os.environ.get(name) for name in _OTHERWISE):
        return config, None
    if {"aws_access_key_id", "aws_secret_access_key"} <= profile.keys():
        config["access_key_id"] = profile["aws_access_key_id"]
        config["secret_access_key"] = profile["aws_secret_access_key"]
        if "aws_session_token" in profile:
            config["session_token"] = profile["aws_session_token"]
        return config, None
    if not any(setting.startswith(_OTHER_WAYS) for setting in profile):
        return config, None

    def keys() -> S3Credential:
        return _keys_of_login(address)

    keys()  # what is wrong with it is said here, in its own words
    return config, keys


def _name() -> str:
    return os.environ.get("AWS_PROFILE") or "default"


def _profile() -> dict[str, str]:
    """Return the settings of the profile, from both of AWS's files."""
    home = Path("~/.aws").expanduser()
    name = _name()
    files = {
        os.environ.get("AWS_CONFIG_FILE") or home / "config": (f"profile {name}", name),
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials": (name,),
    }
    settings: dict[str, str] = {}
    for file, sections in files.items():
        profiles = ConfigParser(interpolation=None)
        try:
            profiles.read(file, encoding="utf-8")
        except (OSError, ConfigParserError, UnicodeDecodeError):
            continue
        section = next((each for each in sections if profiles.has_section(each)), None)
        if section is not None:
            settings |= dict(profiles[section])
    return settings


def _keys_of_login(address: str) -> S3Credential:
    """Return the keys that AWS's command line has for the profile."""
    name = _name()
    advice = f"run `aws sso login --profile {name}`, or set AWS_ACCESS_KEY_ID and the others"
    program = shutil.which("aws")
    if program is None:
        raise RemoteRefused(
            f"there are no credentials for {address}: the AWS profile {name!r} holds no keys, and "
            "the program `aws`, which gets them, is not installed",
            f"install the AWS CLI and {advice}",
        )
    command = [program, "configure", "export-credentials", "--profile", name]
    why = "`aws` gave none"
    try:
        done = subprocess.run(
            [*command, "--format", "process"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CLI_SECONDS,
            check=False,
        )
        # Only what it says on standard error is shown: the other stream has the keys.
        why = one_line(done.stderr.strip())[:_LONGEST] or why
        return _keys(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        why = f"`aws` took more than {_CLI_SECONDS} seconds"
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        pass
    raise RemoteRefused(f"there are no credentials for {address}: {why}", advice)


def _keys(given: dict[str, str]) -> S3Credential:
    expires = given.get("Expiration")
    return {
        "access_key_id": given["AccessKeyId"],
        "secret_access_key": given["SecretAccessKey"],
        "token": given.get("SessionToken"),
        "expires_at": datetime.fromisoformat(expires.replace("Z", "+00:00")) if expires else None,
    }
