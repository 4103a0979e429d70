"""`--import`: a user's modules that register parts, imported by the command and again by its workers. Torch-free."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from ..results.errors import UserError
from ..tokenizers.registry import Registry
from ..tokenizers.validation import is_file as exists

# What this process has imported, by name, with the modules that came along: what they register, workers register too.
_imported: dict[str, tuple[Import, set[str]]] = {}


@dataclass(frozen=True, kw_only=True)
class Import:
    """A module that was imported by `name`: dotted, or the absolute path of a file.

    `module` is its name in this process, `file` its source and `sha256` that file's hash (both "" where there is none),
    `folder` the entry of `sys.path` below which a dotted name was found.
    """

    name: str
    module: str
    file: str = ""
    sha256: str = ""
    folder: str = ""


def load_imports(names: Iterable[str]) -> tuple[Import, ...]:
    """Import each of `names`: a dotted module, found as Python finds modules, or a path that ends in `.py`.

    Raises UserError, one line with the cause, for what can't be imported.
    """
    return tuple(_load(name) for name in names)


def repeat_imports(imports: Iterable[Import]) -> None:
    """Import in a worker what `load_imports` did in the command. Raises UserError, also when a file has changed."""
    for item in imports:
        # At the end: what is installed is found as before, and a script's own folder only in addition.
        if item.folder and item.folder not in sys.path:
            sys.path.append(item.folder)
        again = _load(item.name)
        if (again.file, again.sha256) != (item.file, item.sha256):
            raise UserError(f"--import {item.name}: {again.file} is not what the run was planned with; run it again")


def refuse_unrepeatable(lookups: Iterable[tuple[Registry, str]], imports: Sequence[Import]) -> None:
    """Raise UserError for a name in use that was added in this process by a module that workers don't import."""
    repeated = {item.module for item in imports}.union(*(_imported[item.name][1] for item in imports))
    for registry, name in sorted(lookups, key=lambda item: (item[0].kind, item[1])):
        module = registry.added_by(name)
        if module is not None and module not in repeated:
            if module == "__main__":
                cure = "put it into a file of its own and pass --import FILE.py, or run(..., imports=['FILE.py'])"
            else:
                cure = f"pass --import {module}, or run(..., imports=[{module!r}])"
            raise UserError(f"{registry.kind} {name!r} was added by {module}, which workers don't import; {cure}")


def _load(asked_for: str) -> Import:
    is_file = asked_for.endswith(".py") or "/" in asked_for
    path = Path(asked_for).resolve()
    name = str(path) if is_file else asked_for
    if name in _imported:
        return _imported[name][0]
    if is_file and not exists(path):
        raise UserError(f"--import {asked_for}: no such file")
    before = set(sys.modules)
    try:
        module = _loaded_from(path) or _execute(path) if is_file else import_module(name)
    except (Exception, SystemExit) as error:
        raise UserError(f"--import {asked_for}: {_cause(name, error)}") from error
    file = getattr(module, "__file__", None) or ""
    imported = Import(
        name=name,
        module=module.__name__,
        file=str(Path(file).resolve()) if file else "",
        sha256=hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else "",
        folder="" if is_file else _folder(module),
    )
    _imported[name] = imported, set(sys.modules) - before
    return imported


def _loaded_from(path: Path) -> ModuleType | None:
    """The module that was loaded from `path` already, under whatever name; the script that is running is one too."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(path.name) and Path(file).resolve() == path:
            return module
    return None


def _execute(path: Path) -> ModuleType:
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"  # two folders may have one file name
    spec = spec_from_file_location(name, path)
    if spec is None:
        raise ImportError("not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        # Not by the loader: the bytecode that it keeps is told apart by size and second, and may be of other content.
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _folder(module: ModuleType) -> str:
    """The folder that holds the top-level package of `module`, "" for one without a place on disk."""
    package = sys.modules[module.__name__.partition(".")[0]]
    if hasattr(package, "__path__"):
        paths = list(package.__path__)
        return str(Path(paths[0]).resolve().parent) if paths else ""
    file = getattr(package, "__file__", None)
    return str(Path(file).resolve().parent) if file else ""


def _cause(name: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
        file = Path(*name.split(".")).with_suffix(".py")
        cure = f"--import {file}" if file.is_file() else "a file is named by its path, FILE.py"
        return f"no module of that name is on Python's path (PYTHONPATH adds folders); {cure}"
    return " ".join(f"{type(error).__name__}: {error}".split())
