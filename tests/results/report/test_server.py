"""The server gives out the report and nothing else, to this machine alone."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from latentbench.bench import cli
from latentbench.results.errors import UserError
from latentbench.results.report.server import Live, allowed, server

from .conftest import write_run

# Only looked for: itables brings pandas, which takes seconds to import.
missing = [name for name in ("plotly", "itables") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("served") / "out", ["waveform"])


@pytest.fixture(scope="module")
def port(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("pages") / "report"
    live = Live([run], folder, pause=0)
    live.refresh()
    (folder.parent / "secret.txt").write_text("secret")
    os.symlink(folder.parent / "secret.txt", folder / "link.txt")
    with server(live, port=0) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield http_server.server_address[1]
        http_server.shutdown()
        thread.join()


def ask(
    port: int, path: str, method: str = "GET", host: str = "127.0.0.1", **headers: str
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    result = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return result


@pytest.mark.slow
def test_the_page_its_scripts_and_its_media_are_given_out(port: int) -> None:
    code, content, headers = ask(port, "/")
    assert code == 200
    assert content.startswith(b"<!DOCTYPE html>")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    code, content, headers = ask(port, "/data/report.js")
    assert b'"live":true' in content
    assert ask(port, "/assets/core.js", "HEAD")[:2] == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        *("/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/assets/../../secret.txt", "//etc/passwd"),
        *("/etc/passwd", "/link.txt", "/data", "/..\\secret.txt", "/index.html%00.txt", "/assets/"),
    ],
)
def test_no_other_file_is(port: int, path: str) -> None:
    code, content, _ = ask(port, path)
    assert code == 404
    assert b"secret" not in content


def test_a_page_of_another_name_reads_nothing(port: int) -> None:
    assert ask(port, "/progress.json", Host="evil.example")[0] == 403
    assert ask(port, "/progress.json", Host=f"localhost:{port}")[0] == 200
    assert [allowed(name, "127.0.0.1") for name in ("[::1]:80", "127.0.0.1", "", "127.0.0.1.evil.example")] == [
        *(True, True, False, False)
    ]
    assert allowed("bench.example", "0.0.0.0")


def test_loopback_of_ipv6_is_served(run: Path, tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server(Live([run], tmp_path), host="::1", port=0) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        assert ask(http_server.server_address[1], "/absent", host="::1")[0] == 404
        with pytest.raises(UserError, match=r"cannot serve on \[::1\]:\d+: "):
            server(Live([run], tmp_path), host="::1", port=http_server.server_address[1])
        http_server.shutdown()
        thread.join()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(port: int, method: str) -> None:
    assert ask(port, "/index.html", method)[0] == 501


@pytest.mark.slow
def test_a_record_that_comes_changes_the_revision_and_then_the_page(port: int, run: Path) -> None:
    before = json.loads(ask(port, "/progress.json")[1])
    assert (before["cells"], before["finished"], before["active"]) == (11, 10, False)
    page = ask(port, "/data/report.js")[1]
    (run / "jobs/tokenizer/broken/record.json").unlink()
    after = json.loads(ask(port, "/progress.json")[1])
    assert after["revision"] != before["revision"]
    assert (before["failed"], after["failed"]) == (1, 0)
    ask(port, "/")
    assert ask(port, "/data/report.js")[1] != page
    assert json.loads(ask(port, "/progress.json")[1])["revision"] == after["revision"]


def test_a_port_in_use_and_a_bad_one_are_one_line(port: int, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=rf"cannot serve on 127\.0\.0\.1:{port}: .*--port"):
        server(Live([run], run), port=port)
    with pytest.raises(SystemExit):
        cli.main(["serve", str(run), "--port", "70000"])
    assert "expected a port from 0 to 65535" in capsys.readouterr().err
    assert cli.main(["serve", str(run / "nowhere"), "--port", "0"]) == 2
