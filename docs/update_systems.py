"""Fill the marked block of docs/systems.md from the newest runs in a folder: `python docs/update_systems.py [runs]`.

The suite takes hours, and a run need not be finished: where it has no verdict yet, or one of fewer seeds, the page's
own stays, marked as an earlier one. With `--same` those are not marked: they are of the same version of suite and code,
from a run of other data sets or seeds.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from latentbench.bench.claimed import judged, to_markdown
from latentbench.bench.systems import systems_markdown
from latentbench.results.store import Store

PAGE = Path(__file__).with_name("systems.md")
BEGIN, END = "<!-- systems:begin -->", "<!-- systems:end -->"
OF_FOLDERS = "<!-- statements:begin -->", "<!-- statements:end -->"
# On folders of real signals.
SUITES = ("statements-image", "statements-waveform", "statements-spectrogram", "statements-video", "statement-a18")
EARLIER = " (earlier)"
NOTE = f"Verdicts with{EARLIER} are of an earlier version of suite or code: the newest run has not come to them yet."
NOT_RUN = "not run"
SIGNALS = ("image", "video", "spectrogram", "waveform")
TESTED = re.compile(r", by .*\[.*\].*, \d+ seeds?: ")
VERDICT = re.compile(r"(\w+): ((?:not confirmed|confirmed|refuted|undecided|not run)\b.*)")


def block(page: str, begin: str = BEGIN, end: str = END) -> tuple[str, str, str]:
    """What stands before, in and behind the page's block. Raises ValueError unless there is one such block."""
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"{PAGE.name} needs one {begin} before one {end}")
    head, _, rest = page.partition(begin)
    content, _, tail = rest.partition(end)
    return head, content.strip("\n"), tail


def with_statements(page: str, runs: Path) -> str:
    """The page with what the suites of statements on folders say, if all of them were run right below `runs`."""
    folders = [runs / suite for suite in SUITES if Store(runs / suite).suite_path(suite).is_file()]
    if len(folders) < len(SUITES):
        return page
    begin, end = OF_FOLDERS
    head, _, tail = block(page, begin, end)
    return f"{head}{begin}\n{to_markdown(judged(folders))}\n{end}{tail}"


def merged(old: str, new: str, *, same: bool = False) -> str:
    """The block `new` of a run that may not be finished, with the verdicts of `old` where it has none; of the `same`
    version, or marked as earlier ones."""
    before = {_system(line): line for line in old.splitlines() if _system(line)}
    mark = "" if same else EARLIER
    lines = [_merged_line(before.get(_system(line), ""), line, mark) for line in new.splitlines()]
    count = f"Comparisons tested: {sum(map(_tested, lines))},"
    lines = [re.sub(r"Comparisons tested: \d+,", count, line) for line in lines]
    return "\n".join([*lines, "", NOTE] if any(EARLIER in line for line in lines) else lines)


def _system(line: str) -> str:
    """The anchor of a row, "" for any other line."""
    match = re.match(r'\| <a id="(\w+)"></a>', line)
    return match[1] if match else ""


def _merged_line(old: str, new: str, mark: str) -> str:
    *about, old_results = old.removesuffix(" |").split(" | ")
    *columns, new_results = new.removesuffix(" |").split(" | ")
    if not about or about[-1] != columns[-1]:  # a new system, or another claim than it was
        return new
    earlier, newest = _by_modality(old_results), _by_modality(new_results)
    if not earlier and not newest:
        return f"{' | '.join([*columns, _merged_numbers(old_results, new_results, mark)])} |"
    if not earlier or (not newest and new_results != NOT_RUN):
        return new
    verdicts, lines = [], []
    for modality in dict.fromkeys([*newest, *earlier]):
        verdict, details = newest.get(modality, (NOT_RUN, []))
        if modality in earlier and (verdict.startswith(NOT_RUN) or _seeds(details) < _seeds(earlier[modality][1])):
            verdict, details = earlier[modality]
            verdict = _marked(verdict, mark)
        verdicts.append(f"{modality}: {verdict}")
        lines += details
    return f"{' | '.join([*columns, '<br>'.join(['; '.join(verdicts), *lines])])} |"


def _marked(text: str, mark: str) -> str:
    """`text` with the mark, once; one that it has stays."""
    return text if text.endswith(EARLIER) else text + mark


def _merged_numbers(old: str, new: str, mark: str) -> str:
    """The results of a row that has a number for each modality, or none at all."""
    earlier, newest = ({line.partition(": ")[0]: line for line in text.split("<br>")} for text in (old, new))
    if not any(name in SIGNALS for name in earlier):
        return new
    kept = {name: _marked(line, mark) for name, line in earlier.items()}
    return "<br>".join((kept | {name: line for name, line in newest.items() if name in SIGNALS}).values())


def _tested(line: str) -> int:
    """The comparisons with an interval that a row tells of; statements on the field have suites of their own."""
    if not _system(line) or "| suite statement-" in line:
        return 0
    return sum(TESTED.search(part) is not None and " equal to " not in part for part in line.split("<br>"))


def _by_modality(results: str) -> dict[str, tuple[str, list[str]]]:
    """The verdict and the lines of every modality; {} of results that have none."""
    first, *lines = results.split("<br>")
    matches = [VERDICT.fullmatch(part) for part in first.split("; ")]
    verdicts = {match[1]: match[2] for match in matches if match is not None}
    return {name: (text, [line for line in lines if line.startswith(f"{name}: ")]) for name, text in verdicts.items()}


def _seeds(lines: list[str]) -> int:
    return max((int(count) for line in lines for count in re.findall(r", (\d+) seeds?: ", line)), default=0)


if __name__ == "__main__":
    same = "--same" in sys.argv[1:]
    named = [argument for argument in sys.argv[1:] if argument != "--same"]
    folder = Path(named[0] if named else "runs")
    page = with_statements(PAGE.read_text(), folder)
    if any(Store(run).suite_path("systems").is_file() for run in (folder, *folder.iterdir())):
        head, content, tail = block(page)
        # A page is read elsewhere than where it was made.
        table = systems_markdown(folder).replace(f"{folder}/", "runs/")
        page = f"{head}{BEGIN}\n{merged(content, table, same=same)}\n{END}{tail}"
    PAGE.write_text(page)
    print(f"{PAGE}: from {folder}")
