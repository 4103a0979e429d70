"""The fork server and the engine's end of it, spoken to directly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentbench.bench.engines.allowance import Allowance
from latentbench.bench.engines.client import OPENMP, Server, ServerDiedError, openmp
from latentbench.bench.imports import load_imports
from latentbench.bench.signals import uptime

from ..processes import alive, await_end

SCRIPT = """
import os, signal, sys, threading, time
from pathlib import Path
from latentbench.bench import worker
from latentbench.bench.engines import server

def work(request):
    print("hello from the worker")
    print("and its complaints", file=sys.stderr)
    if request["do"] == "raise":
        raise ValueError("of no job's making")
    if request["do"] == "read":
        return len(sys.stdin.read())
    if request["do"] == "wait":
        time.sleep(60)
    if request["do"] == "tell who, and wait":
        Path(request["log"] + ".pid").write_text(f"{os.getpid()}\\n")
        time.sleep(60)
    if request["do"] == "threads":
        print("threads", threading.active_count())
    if request["do"] == "nap":
        time.sleep(0.3)
    if request["do"] == "until gone":
        while (Path(request["log"]).parent / "stopped").exists():
            time.sleep(0.01)
    if request["do"] == "environment":
        print(os.environ["GOMP_SPINCOUNT"])
    return 7

worker.preload = lambda: None
worker.preload_for = lambda *_: time.sleep(0.6)
worker.work = work
server.main()
"""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    script = tmp_path / "server.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(Server, "command", (sys.executable, "-P", str(script)))
    return Server()


def answers(server: Server, count: int) -> dict[str, int]:
    ended: dict[str, int] = {}
    deadline = time.monotonic() + 20
    while len(ended) < count and time.monotonic() < deadline:
        ended |= {message["job"]: message["status"] for message in server.read(0.2)}
    return ended


def submit(server: Server, tmp_path: Path, name: str, do: str) -> None:
    server.submit({"job": name, "attempt": 1, "request": {"do": do, "log": str(tmp_path / f"{name}.log")}})


def test_jobs_are_forked_logged_and_reported(server: Server, tmp_path: Path) -> None:
    for name in ("return", "raise", "read"):
        submit(server, tmp_path, name, name)
    server.submit({"job": "lost", "attempt": 1, "request": {"do": "return", "log": str(tmp_path / "no" / "such.log")}})
    statuses = answers(server, 4)
    # the standard input of a worker is empty: the server's is its orders
    assert statuses == {"return": 7, "raise": os.EX_SOFTWARE, "read": 0, "lost": 74}
    assert (tmp_path / "return.log").read_text() == "hello from the worker\nand its complaints\n"
    assert "ValueError: of no job's making" in (tmp_path / "raise.log").read_text()
    server.close()
    assert server.process.returncode == 0


def test_threads_of_jobs_don_t_spin_while_they_wait(server: Server, tmp_path: Path) -> None:
    submit(server, tmp_path, "a", "environment")
    assert answers(server, 1) == {"a": 7}
    server.close()
    assert (tmp_path / "a.log").read_text().endswith("1000\n")
    assert openmp({}) == OPENMP
    for chosen in ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "9"}, {"KMP_BLOCKTIME": "200"}):
        assert openmp(chosen) == {}


def test_what_imports_print_is_no_answer(
    server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.close()
    (tmp_path / "loud.py").write_text("import os\nprint('loud')\nos.write(1, b'louder\\n')\n")
    loud = Server(load_imports([str(tmp_path / "loud.py")]))
    capfd.readouterr()
    submit(loud, tmp_path, "a", "return")
    assert answers(loud, 1) == {"a": 7}
    loud.close()
    assert capfd.readouterr() == ("", "loud\nlouder\n")
    assert (tmp_path / "a.log").read_text() == "hello from the worker\nand its complaints\n"


def test_stop_and_the_end_of_input(server: Server, tmp_path: Path) -> None:
    submit(server, tmp_path, "asked", "wait")
    time.sleep(0.2)
    server.stop()
    assert answers(server, 1) == {"asked": -signal.SIGTERM}
    submit(server, tmp_path, "cut", "wait")
    started = time.monotonic()
    server.close()
    assert time.monotonic() - started < 5
    assert server.process.returncode == 0


@pytest.mark.parametrize(("later", "status"), [(60.0, 7), (0.0, -signal.SIGKILL)])
def test_jobs_end_with_the_time_they_are_allowed_and_a_late_server_hears_of_more(
    server: Server, tmp_path: Path, later: float, status: int
) -> None:
    (tmp_path / "stopped").touch()
    submit(server, tmp_path, "patient", "until gone")
    while not server.ready:
        server.read(1.0)
    os.kill(server.process.pid, signal.SIGSTOP)  # as one that waits for its turn on a busy machine
    server.allow_until(uptime() - 1.0, uptime() + 60.0)
    if later:
        server.allow_until(uptime() + later, uptime() + 60.0)
    os.kill(server.process.pid, signal.SIGCONT)
    if later:
        server.submit({"ping": True})
        server.read(20.0)  # it has gone round
        (tmp_path / "stopped").unlink()
    assert answers(server, 1) == {"patient": status}
    server.close()


def test_a_server_hears_first_what_was_said_while_it_imported(server: Server, tmp_path: Path) -> None:
    while not server.ready:
        server.read(1.0)
    server.allow_until(uptime() + 0.3, uptime() + 60.0)
    request = {"do": "nap", "log": str(tmp_path / "slow.log"), "job": {"kind": "slow", "config": {}, "runtime": {}}}
    server.submit({"job": "slow", "attempt": 1, "request": request})
    time.sleep(0.1)  # it imports
    server.allow_until(uptime() + 60.0, uptime() + 60.0)
    assert answers(server, 1) == {"slow": 7}
    server.close()


def test_a_job_that_is_stopped_does_not_wake_once_others_may_have_taken_it_over(server: Server, tmp_path: Path) -> None:
    while not server.ready:
        server.read(1.0)
    server.allow_until(uptime() + 60.0, uptime() + 2.0)
    submit(server, tmp_path, "a", "tell who, and wait")
    worker = number(tmp_path / "a.log.pid")
    for process in (worker, server.process.pid):  # as when the machine is stopped, whose engine tells nothing more
        os.kill(process, signal.SIGSTOP)
    assert alive(worker)
    await_end([worker])  # and nobody has let it go on
    os.kill(server.process.pid, signal.SIGCONT)
    assert answers(server, 1) == {"a": -signal.SIGKILL}
    server.close()


def test_a_job_goes_on_for_as_long_as_its_engine_tells_of_more_time(server: Server, tmp_path: Path) -> None:
    while not server.ready:
        server.read(1.0)
    server.allow_until(uptime() + 60.0, uptime() + 1.5)
    (tmp_path / "stopped").touch()
    submit(server, tmp_path, "a", "until gone")
    for _ in range(15):
        server.allow_until(uptime() + 60.0, uptime() + 1.5)
        time.sleep(0.2)
    (tmp_path / "stopped").unlink()
    assert answers(server, 1) == {"a": 7}
    server.close()


def test_a_job_without_a_limit_has_no_thread_more(server: Server, tmp_path: Path) -> None:
    submit(server, tmp_path, "a", "threads")
    assert answers(server, 1) == {"a": 7}
    assert (tmp_path / "a.log").read_text().endswith("threads 1\n")
    server.close()


def test_a_dead_server_is_noticed(server: Server, tmp_path: Path) -> None:
    server.process.kill()
    submit(server, tmp_path, "late", "return")  # is no error by itself
    with pytest.raises(ServerDiedError) as caught:
        answers(server, 1)
    assert caught.value.code == -signal.SIGKILL
    server.close()


@pytest.mark.slow
def test_an_interrupt_at_the_terminal_does_not_reach_it(tmp_path: Path) -> None:
    # Ctrl-C goes to the whole group, at any moment of the server's start.
    (tmp_path / "server.py").write_text(SCRIPT)
    code = f"""
import os, signal, sys, time
from latentbench.bench.engines.client import Server
Server.command = (sys.executable, "-P", {str(tmp_path / "server.py")!r})
signal.signal(signal.SIGINT, lambda *_: None)
server = Server()
for _ in range(20):
    os.killpg(0, signal.SIGINT)
    time.sleep(0.05)
server.submit({{"job": "a", "attempt": 1, "request": {{"do": "return", "log": {str(tmp_path / "log")!r}}}}})
while not (ended := server.read(1)):
    pass
print(ended[0]["status"])
server.close()
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, process_group=0, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("7\n", "", 0)


def test_nothing_outlives_the_engine(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SCRIPT)
    code = f"""
import sys, time
from latentbench.bench.engines.client import Server
Server.command = (sys.executable, "-P", {str(tmp_path / "server.py")!r})
server = Server()
server.submit({{"job": "a", "attempt": 1, "request": {{"do": "tell who, and wait", "log": {str(tmp_path / "log")!r}}}}})
print(server.process.pid, flush=True)
time.sleep(60)
"""
    engine = subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    server = int(engine.stdout.readline())
    worker = number(tmp_path / "log.pid")
    engine.kill()
    engine.communicate()
    time.sleep(0.3)
    assert not alive(server)
    assert not alive(worker)


def test_messages_may_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(json.dumps({"job": str(i), "attempt": 1, "status": 0}) + "\n" for i in range(3))
    code = f"import sys, time\nfor c in {lines!r}: sys.stdout.write(c); sys.stdout.flush(); time.sleep(0.001)"
    monkeypatch.setattr(Server, "command", (sys.executable, "-P", "-c", code))
    server = Server()
    assert answers(server, 3) == {"0": 0, "1": 0, "2": 0}
    server.close()


def test_an_engine_that_dies_while_its_server_starts_leaves_none(tmp_path: Path) -> None:
    # Killed before the server has asked the kernel to be told: the server finds another parent than it was started by.
    (tmp_path / "server.py").write_text("import time\ntime.sleep(0.5)" + SCRIPT)
    code = f"""
import os, signal, sys
from latentbench.bench.engines.client import Server
Server.command = (sys.executable, "-P", {str(tmp_path / "server.py")!r})
print(Server().process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    engine = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (engine.returncode, engine.stderr) == (-signal.SIGKILL, "")
    await_end([int(engine.stdout)])


def test_an_engine_that_has_gone_is_no_traceback(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(SCRIPT)
    allowance = Allowance.create()
    command = [sys.executable, "-P", str(script), str(os.getpid()), "[]", str(allowance.descriptor)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[allowance.descriptor],
    )
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


def number(path: Path) -> int:
    """The number in a file that is being written, once its line is whole."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return int(text)
        time.sleep(0.02)
    raise AssertionError(f"{path} was not written")
