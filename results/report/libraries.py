"""The page's two libraries, as their Python packages ship them: plotly.js draws, DataTables sorts and filters.

Each script begins with the licence of its package, so that whoever is given a report is given that too.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from ..errors import UserError

_EXPORT = re.compile(r"export\s*\{([^{}]*)\}\s*;?")


def plotly() -> bytes:
    """plotly.js, whole. Raises UserError where the package is not installed."""
    return licence("plotly") + _file("plotly", "package_data/plotly.min.js")


def datatables() -> tuple[bytes, bytes]:
    """DataTables and what goes with it (jQuery, selection, grouping, conditions): script and style.

    The script is a module in its package, and browsers load no module from `file://`: here it is a plain script that
    leaves its exports in `window.tables`. Raises UserError where the package is not installed or exports nothing.
    """
    script = _file("itables", "html/dt_bundle.js").decode()
    notice = licence("itables")
    return notice + plain_script(script, "tables").encode(), notice + _file("itables", "html/dt_bundle.css")


def plain_script(module: str, name: str) -> str:
    """A module without imports as a plain script whose exports are the properties of `window.<name>`.

    Raises UserError unless it has exactly one list of exports.
    """
    lists = _EXPORT.findall(module)
    if len(lists) != 1:
        raise UserError(f"the script of itables has {len(lists)} lists of exports, expected 1; install itables>=2.9,<3")
    properties = []
    for item in lists[0].split(","):
        local, _, exported = item.strip().partition(" as ")
        properties.append(f"{exported or local}:{local}")
    body = _EXPORT.sub(lambda _: f"window.{name}={{{','.join(properties)}}};", module)
    return f"(()=>{{{body}\n}})();\n"


def licence(package: str) -> bytes:
    """The text of an installed package's licence as a comment of a script or a style; empty where it has none."""
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        return b""  # a copy on the path, without what pip writes beside it
    for path in installed.files or ():
        if path.name.upper().startswith(("LICENSE", "LICENCE")):
            text = path.read_text().replace("*/", "* /").strip()
            return f"/*!\n{package} {installed.version}\n\n{text}\n*/\n".encode()
    return b""


def _file(package: str, path: str) -> bytes:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"a report needs the package {package}: pip install 'latentbench[report]'")
    try:
        return (Path(spec.origin).parent / path).read_bytes()
    except OSError as error:
        raise UserError(f"{package} has no {path} ({error.strerror}): pip install 'latentbench[report]'") from None
