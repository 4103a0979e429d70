"""The harness: suites, planning, engines, artifacts, datasets, the training loop, the command line."""

from .run import run

__all__ = ["run"]
