"""The harness: suites, planning, engines, artifacts, datasets, the training loop, the command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluation import evaluate
    from .runner import run

__all__ = ["evaluate", "run"]


def __getattr__(name: str) -> Any:
    # Imported when asked for, so that the command line can catch an interrupt before anything slow is imported.
    if name == "run":
        from .runner import run

        return run
    if name == "evaluate":
        from .evaluation import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
