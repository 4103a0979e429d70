"""What a data set of many files holds, told by decoding a few of them: for looking at a suite before it is run."""

from __future__ import annotations

import json
from pathlib import Path

from ...results.errors import UserError
from . import sources
from .complaints import by_reason
from .config import DataConfig
from .file_source import FileSource
from .files import passed_over
from .source import Changed, Progress, Skip, silent

MANY = 1000  # fewer files are decoded whole
_FEW = 16


def look_at_few(config: DataConfig, *, cache: Path, progress: Progress = silent) -> str | None:
    """The counts, as JSON, of a set of more than `MANY` files, by decoding an evenly spread few; None for fewer files.

    Raises UserError when none of the few can be used, or as the source does.
    """
    source: FileSource = sources.get(config.kind)()
    with source.opened(config, cache, silent) as (table, problems, _):
        total = table.total
        if total <= MANY:
            return None
        chosen = {(2 * i + 1) * total // (2 * _FEW) for i in range(_FEW)}
        looked_at = len(chosen)
        unread = [reason for _, reason in (*problems, *table.problems())]
        reasons: list[str] = []
        samples = 0
        for rank, file in enumerate(table.files()):
            if rank not in chosen:
                continue
            progress(sum(earlier < rank for earlier in chosen), looked_at, "decoding")
            try:
                samples += sum(len(block) for block in source.blocks(config, table.root, file))
            except (Skip, Changed) as reason:
                reasons.append(str(reason))
        duplicates, others = table.duplicates, passed_over(table.passed_over)
    if not samples:
        raise UserError(
            f"data.path: none of {looked_at} of the {total} files in {config.path} can be used: "
            + ", ".join(f"{count} {reason}" for reason, count in by_reason(reasons).items())
        )
    used, whole = round(total * (1 - len(reasons) / looked_at)), round(total * samples / looked_at)
    val = config.val if isinstance(config.val, int) else max(1, round(whole * config.val))
    val = min(val, whole - 1)
    train = min(whole - val, config.samples or whole)
    skipped = total - used + len(unread)
    files = {"files": total + len(unread) + duplicates, "used": used, "skipped": skipped, "duplicates": duplicates}
    facts = {"train": train, "val": val, "files": files, "reasons": by_reason(reasons), "looked_at": looked_at}
    return json.dumps(facts | {"passed_over": others})
