"""The libraries as their packages ship them, made loadable from a file."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec

import pytest

from latentbench.results.errors import UserError
from latentbench.results.report import libraries

missing = [name for name in ("plotly", "itables") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def test_a_module_becomes_a_script_whose_exports_are_properties() -> None:
    script = libraries.plain_script("var a=1,b=2;export{a as one,b};", "found")
    assert "export" not in script
    assert "window.found={one:a,b:b};" in script
    node = shutil.which("node")
    if node is not None:
        code = f"globalThis.window={{}};{script}console.log(JSON.stringify(window.found))"
        assert (
            subprocess.run([node, "-e", code], capture_output=True, text=True, check=True).stdout == '{"one":1,"b":2}\n'
        )


@pytest.mark.parametrize("module", ["var a=1;", "export{a};export{b};"])
def test_a_module_of_another_make_is_refused(module: str) -> None:
    with pytest.raises(UserError, match=r"has [02] lists of exports, expected 1; install itables"):
        libraries.plain_script(module, "found")


def test_what_is_installed_is_complete_and_loads_nothing() -> None:
    script, style = (part.decode() for part in libraries.datatables())
    assert "default:" in script[-200_000:]
    assert ".dt-container" in style
    assert "@import" not in style
    assert len(libraries.plotly()) > 1_000_000


def test_their_licences_and_their_authors_go_along() -> None:
    script, style = (part.decode() for part in libraries.datatables())
    chart = libraries.plotly().decode()
    for text in (script, style, chart):
        assert text.startswith("/*!")
        head = " ".join(text[: text.index("*/")].split())
        assert "Permission is hereby granted, free of charge" in head
        assert "shall be included in all copies" in head
    for author in ("Marc Wouts", "SpryMedia Ltd", "OpenJS Foundation", "Stuart Knightley"):
        assert author in script
    assert "Plotly, Inc" in chart
    assert libraries.licence("no-such-package") == b""


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package plotly: pip install 'latentbench\[report\]'"):
        libraries.plotly()
