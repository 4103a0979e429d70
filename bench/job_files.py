"""Files that a job's configuration names: what they hold is part of the job's identity, where they lie is not.

In a job's configuration, and so in its key and record, a path stands as `sha256:<content>`; the job's `runtime` says
where that content lies now. Moving a file redoes nothing, another content redoes what depends on it. No torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..tokenizers.weights import content_digest
from .jobs import Job

FILES = "files"  # the key of `Job.runtime`


def named_files(config: Any) -> dict[str, Path]:
    """The files that strings in `config` name, by those strings: paths of files that exist."""
    paths: dict[str, Path] = {}

    def look(text: str) -> str:
        path = _file(text)
        if path is not None:
            paths[text] = path
        return text

    _mapped(config, look)
    return paths


def by_content(config: Any) -> tuple[Any, dict[str, str]]:
    """`config` with the content's digest in place of every path of a file, and the absolute path of each digest."""
    names = {
        text: (f"sha256:{content_digest(path)}", str(path.absolute())) for text, path in named_files(config).items()
    }
    if not names:
        return config, {}
    return _mapped(config, lambda text: names[text][0] if text in names else text), dict(names.values())


def by_place(config: Any, places: Mapping[str, str]) -> Any:
    """The inverse: `config` with the path of every digest that `places` has."""
    return _mapped(config, lambda text: places.get(text, text)) if places else config


def placed(job: Job) -> Job:
    """The job as what executes it sees it: with paths."""
    places = job.runtime.get(FILES, {})
    return replace(job, config=by_place(job.config, places)) if places else job


def _file(text: str) -> Path | None:
    """The file that the text is a path of; a word without a folder or an ending is none."""
    if os.sep not in text and not os.path.splitext(text)[1]:
        return None
    path = Path(text).expanduser()
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _mapped(item, change) for key, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list | tuple) else value
