"""Configuration of the adapter for a class of the user's own. No torch."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any, ClassVar

from ...results.errors import UserError
from .config import AdapterConfig
from .files import weights_file


@dataclass(frozen=True, kw_only=True)
class PythonConfig(AdapterConfig):
    """Any Python object with encode and decode: `path` is my_pkg.models:MyVAE or file.py:MyVAE.

    A class or function is called with `options`; what is no class is taken as it is. `weights`, a state dict, is loaded
    into it. The file that defines it, its package's version, its weights and files named in `options` are its
    identity; what that file imports is not.
    """

    kind: ClassVar[str] = "python"
    version: ClassVar[int] = 1
    builds: ClassVar[str | type] = "python:PythonAdapter"

    target: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    weights: str = ""

    def find(self, where: str) -> Mapping[str, Any]:
        module, _, attribute = self.path.rpartition(":")
        if not module or not attribute:
            raise UserError(f"{where}: expected MODULE:CLASS or FILE.py:CLASS, got {self.path!r}")
        is_path = _is_path(module)
        file = Path(module).expanduser() if is_path else module_file(module)
        if file is None or not file.is_file():
            missing = "no such file" if is_path else "no module of that name on Python's path or below this folder"
            raise UserError(f"{where}: {module}: {missing}")
        files = {"module": str(file.resolve())}
        if self.weights:
            files["weights"] = str(weights_file(self.weights, trust_pickle=self.trust_pickle, where=where))
        name = "" if is_path else module
        return {"files": files, "target": f"{name}:{attribute}", "weights": "", "options": absolute(self.options)}

    def software(self, where: str = "adapter") -> dict[str, str]:
        module = (self.target or self.path).partition(":")[0]
        top = "" if _is_path(module) else module.partition(".")[0]
        try:
            return {name: version(name) for name in _distributions(tuple(sys.path)).get(top, [])} if top else {}
        except PackageNotFoundError:
            return {}


def _is_path(module: str) -> bool:
    return module.endswith(".py") or os.sep in module


@lru_cache(maxsize=4)
def _distributions(path: tuple[str, ...]) -> Mapping[str, list[str]]:
    """By top-level module the packages on Python's `path`: a second's work, where many are installed."""
    return packages_distributions()


def module_file(module: str) -> Path | None:
    """The file of a dotted module, found without importing anything; the working folder is looked through last."""
    relative = Path(*module.split("."))
    for folder in [*sys.path, os.getcwd()]:
        for candidate in (
            Path(folder or ".") / relative.with_suffix(".py"),
            Path(folder or ".") / relative / "__init__.py",
        ):
            if candidate.is_file():
                return candidate
    return None


def absolute(options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with the paths of files in them made absolute, so that workers find them."""

    def change(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: change(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [change(item) for item in value]
        if isinstance(value, str) and (os.sep in value or os.path.splitext(value)[1]):
            try:
                path = Path(value).expanduser()
                return str(path.resolve()) if path.is_file() else value
            except (OSError, ValueError, RuntimeError):
                return value
        return value

    return {key: change(value) for key, value in options.items()}
