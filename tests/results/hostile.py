"""Names that somebody might have chosen to be obeyed, and what may stand in a text of each format all the same."""

from __future__ import annotations

import random
import re
import unicodedata
from html.parser import HTMLParser

HOSTILE = [
    *("[/red]", "[link=http://x.y]z[/link]", "\x1b[2J\x07\x7f\x9b1m", "a\r\nb\tc\u2028d\u0085e"),
    *("\u202egnp.exe\u2066\u200b\ufeff", "caf\udce9", "![p](http://x.y)", "[a](javascript:x)", "a|b|c"),
    *("`code` **bold** _em_ __b__", "<script>alert(1)</script>", "<!-- x", "&lt;b&gt;", "<img src=x onerror=y>"),
    *("\\input{x} $x^2$ %c #1 ~ ^ _ & {}", "=cmd()|' /C calc'!A0", "+1", "-1+2", "@SUM(A1)", '"\'>"'),
    *("~~strike~~", "@someone", "# head", "> quote", "\\", "http://x.y", "😀 é 中文 العربية"),
]
LATEX = "begin end toprule midrule bottomrule par smallskip centering caption linewidth footnotesize textbf pm"
LATEX += " uparrow downarrow bullet cdot times textbackslash textasciitilde textasciicircum textless textgreater"
LATEX += " textbar texttt char providecommand unicodetext ifdefined XeTeXrevision directlua else fi surd infty"
LATEX += " setlength tabcolsep rightarrow geq leq approx ldots"


def names(count: int = 150) -> list[str]:
    """The hostile names, and mixtures of their pieces with every control and format character."""
    draw = random.Random(0)
    special = [chr(i) for i in range(0x3000) if unicodedata.category(chr(i)) in ("Cc", "Cf", "Zl", "Zp")]
    pieces = [*special, *HOSTILE, *"[]()!`*_~|<>&#@\\{}$%^=+-'\"", "\ud800", "\udfff", "x", "1"]
    return [*HOSTILE, *("".join(draw.choices(pieces, k=draw.randint(1, 12))) or "x" for _ in range(count))]


def storable(name: str) -> str:
    """As much of a name as a suite's file can hold."""
    return name.encode("utf-8", "replace").decode()


def check_visible(text: str) -> None:
    """Nothing but visible characters between our own line ends."""
    assert text.replace("\n", "").isprintable()


def check_markdown(text: str) -> None:
    """Tables keep their columns, and cells have no markup."""
    check_visible(text)
    cells = 0
    before = ""
    for line in text.splitlines():
        if line.startswith("|"):
            count = len(re.findall(r"(?<!\\)\|", line))
            cells = cells if before.startswith("|") else count
            assert count == cells, line
        before = line
    plain = re.sub(r"\\[\\`*_\[\]<>|~@!#]", "", text).replace("**", "")
    for line in plain.splitlines():
        if line.startswith("|"):
            assert not re.search(r"[`*\[\]<]|~~|!\[", line), line


def check_html(text: str, tags: str) -> None:
    """No element but `tags`, no handler, no address but in the page and beside it."""
    check_visible(text)

    class Seen(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag in tags.split(), tag
            for name, value in attrs:
                assert not name.startswith("on"), name
                assert name not in ("href", "src") or re.fullmatch(r"#[a-z0-9-]+|[A-Za-z0-9_./%-]+|data:,", value or "")

    Seen().feed(text)


def check_latex(text: str) -> None:
    """No command but ours."""
    check_visible(text)
    assert set(re.findall(r"\\([a-zA-Z]+)", text)) <= set(LATEX.split())
    shown = re.sub(r"^% ", "", text, flags=re.MULTILINE).partition(r"\begin{table}")[2]
    assert not re.search(r"(?<!\\)[%#]", shown)
