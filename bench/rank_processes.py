"""The processes of a job that several devices share: the worker is rank 0 and forks the others.

They call the same job, each on its own device, and meet in `train` (see `tokenizers.ranks`). Rank 0 alone leaves
anything behind; when it ends, however that is, the kernel ends the others. When one of the others dies, rank 0 ends
within seconds without a record, so that the job begins again from its checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from ..results.garbage import keep_what_forks_inherit
from ..results.record import Failure
from .signals import die_with_parent, ignore_interrupts
from .worker_protocol import FAILED, FINISHED, RANK_DIED

_HOST = "127.0.0.1"
# A rank may wait for as long as rank 0 prepares a training; a death is noticed in another way.
_PATIENCE = timedelta(days=7)
# Until a rank whose neighbour is gone ends too: in that time the neighbour's end has been told.
GRACE_SECONDS = 10.0


Follow = Callable[["Ranks"], tuple[int, Failure | None]]


class FollowerDone(BaseException):
    """The training of a rank that leaves nothing behind is over."""


@dataclass(kw_only=True)
class Ranks:
    """This process among the `count` of its job. `server` is rank 0's end of the place where they meet."""

    number: int = 0
    count: int = 1
    port: int = 0
    server: int | None = None
    failure: Failure | None = None
    _pids: list[int] = field(default_factory=list)
    _told: threading.Event = field(default_factory=threading.Event)
    _closing: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Inside, the processes are a group of torch.distributed. Raises FollowerDone at its end in all but rank 0."""
        if self.count == 1:
            yield
            return
        store = dist.TCPStore(
            *(_HOST, self.port, self.count, self.number == 0),
            timeout=_PATIENCE,
            master_listen_fd=self.server,
        )
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=self.number, world_size=self.count, timeout=_PATIENCE)
        yield
        # After an error the connections stay: the others would take their end for the cause.
        dist.destroy_process_group()
        if self.number:
            raise FollowerDone

    def other_failure(self) -> Failure:
        """What another rank has failed of, when the connection to it is gone.

        Does not return where it has died or run out of memory: this process ends then, with the code that says so.
        """
        self._told.wait(GRACE_SECONDS)
        if self.failure is None:
            self._exit(RANK_DIED)
        return self.failure

    def start(self, follow: Follow) -> None:
        """Fork the others, each of which calls `follow` and says at its end what that returns.

        To be called by the first, before it has threads or touches a GPU; `close` ends what is left of them.
        """
        if self.count == 1:
            return
        keep_what_forks_inherit()
        server, parent, pipes = socket.create_server((_HOST, 0), backlog=self.count), os.getpid(), {}
        self.port = server.getsockname()[1]
        # A request to stop must find no process that is not yet in its own code, or not yet in `close`'s list.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            for number in range(1, self.count):
                pipes[number], end = os.pipe()
                pid = os.fork()
                if pid == 0:
                    _follow(follow, Ranks(number=number, count=self.count, port=self.port), parent, end)
                os.close(end)
                self._pids.append(pid)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self.server = server.detach()
        _set_environment(0, self.count, self.port)
        for number, pipe in pipes.items():
            threading.Thread(target=self._hear, args=(number, pipe), daemon=True).start()

    def close(self) -> None:
        """End the others and wait until they have gone."""
        with self._closing:
            while self._pids:
                pid = self._pids.pop()
                with suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)

    def _hear(self, number: int, pipe: int) -> None:
        with open(pipe, encoding="utf-8") as file:
            text = file.read()
        said: dict[str, Any] = json.loads(text) if text else {"code": RANK_DIED}
        if said["code"] == FINISHED:
            return
        if said["code"] == FAILED:
            self.failure = Failure(**said["failure"])
            self._told.set()
            # The main thread records it, unless it waits for a device that hears nothing.
            time.sleep(2 * GRACE_SECONDS)
            said = {"code": RANK_DIED}
        with self._closing:
            if not self._pids:  # the job has ended, and so have they
                return
        print(f"rank {number} has ended (exit code {said['code']}), and so does the job", flush=True)
        self._exit(said["code"])

    def _exit(self, code: int) -> NoReturn:
        """End this process, from whatever thread."""
        self.close()
        os._exit(code)


def _follow(follow: Follow, own: Ranks, parent: int, end: int) -> NoReturn:
    """What a forked rank does; never returns."""
    try:
        die_with_parent(parent)
        ignore_interrupts()  # rank 0 decides what a signal to the group means
        _set_environment(own.number, own.count, own.port)
        code, failure = follow(own)
        said = {"code": code} | ({} if failure is None else {"failure": vars(failure)})
        os.write(end, json.dumps(said).encode())
    finally:
        os._exit(0)


def _set_environment(number: int, count: int, port: int) -> None:
    """torchrun's names, for parts that ask for them; all ranks are on this machine."""
    names: dict[str, Any] = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    names |= {"MASTER_ADDR": _HOST, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ.setdefault(name, "lo")
