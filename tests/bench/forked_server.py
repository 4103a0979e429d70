"""Job servers that need no torch, forked from one process that has imported the rest: a new one takes half a second."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_LARGEST = 1 << 20


class Forker:
    """A process that becomes, in a fork of it, any job server that is asked for."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-c", f"{Path(__file__).read_text()}\nserve({theirs.fileno()})"]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self.pid = self._process.pid

    def ask(self, question: dict[str, Any], files: Sequence[int] = ()) -> Any:
        """Its answer to one question; it gets `files` along."""
        socket.send_fds(self._socket, [json.dumps(question).encode()], list(files))
        return json.loads(self._socket.recv(_LARGEST))

    def close(self) -> None:
        """End it, and the servers that are left with it."""
        self._socket.close()
        self._process.wait(60)

    def as_subprocess(self, script: str) -> type[Any]:
        """What stands for the module `subprocess` where an engine's server is to be the Python code `script`."""
        forker = self

        class Module:
            PIPE, TimeoutExpired = subprocess.PIPE, subprocess.TimeoutExpired

            @staticmethod
            def Popen(command: Sequence[str], *, env: dict[str, str], pass_fds: Sequence[int], **_: Any) -> Forked:
                return Forked(forker, script, command[-2], env, pass_fds)

        return Module


class Forked:
    """What `subprocess.Popen` is to the engine."""

    def __init__(self, forker: Forker, script: str, imports: str, env: dict[str, str], keep: Sequence[int]) -> None:
        orders, stdin = os.pipe()
        stdout, answers = os.pipe()
        self._forker = forker
        self.returncode: int | None = None
        # Its parent, whose death ends it, is the process that it is forked from.
        request = {"script": script, "arguments": [str(forker.pid), imports], "environment": env}
        self.pid = int(forker.ask(request, [orders, answers, *keep]))
        os.close(orders)
        os.close(answers)
        self.stdin, self.stdout = os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb", 0)

    def poll(self) -> int | None:
        """The exit status, once it has ended."""
        if self.returncode is None:
            self.returncode = self._forker.ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float = 60.0) -> int:
        """The exit status; raises as subprocess does after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("the forked server", timeout)
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        """End it at once."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def serve(number: int) -> None:
    """Answer until the other end of that socket is closed."""
    import latentbench.bench.engines.server  # noqa: F401
    from latentbench.bench import worker

    with contextlib.suppress(Exception):
        worker.preload_for("no kind", {})  # and thereby what all kinds share
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    questions = socket.socket(fileno=number)
    while True:
        data, files, _, _ = socket.recv_fds(questions, _LARGEST, 16)
        if not data:
            return
        question = json.loads(data)
        if "ended" in question:
            pid, status = os.waitpid(question["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                questions.close()
                _become(question, files)
            for file in files:
                os.close(file)
        questions.send(json.dumps(answer).encode())


def _become(request: dict[str, Any], files: Sequence[int]) -> NoReturn:
    status = 1
    try:
        for number, file in enumerate(files[:2]):
            os.dup2(file, number)
            os.close(file)
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = ["server.py", *request["arguments"], str(files[-1])]  # the last one is the jobs' allowance
        exec(compile(request["script"], "server.py", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(status)
