"""The commit that the package is installed from, where that can be known. Torch-free."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

_HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?(-dirty)?")


@cache
def commit() -> str | None:
    """The hash of the commit that pip installed from, or that the checkout of an editable install is at, `-dirty` where
    files that git knows were changed; None for an installed release."""
    try:
        text = distribution("latentbench").read_text("direct_url.json")
        facts = json.loads(text) if text else {}
    except (PackageNotFoundError, ValueError):
        return None
    return commit_of(facts) if isinstance(facts, dict) else None


def commit_of(facts: dict[str, object]) -> str | None:
    """The commit by what pip wrote of the package's origin (`direct_url.json`, PEP 610)."""
    origin, folder, url = facts.get("vcs_info"), facts.get("dir_info"), facts.get("url")
    if isinstance(origin, dict):
        return _checked(str(origin.get("commit_id", "")))
    if isinstance(folder, dict) and folder.get("editable") is True and isinstance(url, str):
        return _of_checkout(Path(unquote(urlsplit(url).path)))
    return None


def _of_checkout(folder: Path) -> str | None:
    """The checkout's own commit: a folder that merely lies inside another project's has none."""
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=64", "--exclude=*"]
    try:
        # Without the lock that a look at the files otherwise takes, to remember what it saw.
        free = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, env=free)
    except (OSError, subprocess.SubprocessError):
        return None
    return _checked(answer.stdout.strip())


def _checked(text: str) -> str | None:
    return text if _HASH.fullmatch(text) else None
