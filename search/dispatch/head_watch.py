"""Noticing at once that the head of the cluster is gone.

Ray's own answer is to end the driver a minute later, from C++, without a word of ours.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LOST_EXIT_CODE: Final = 1
_UNREACHABLE_SECONDS: Final = 45.0  # Ray gives up after 60


@contextmanager
def head_watched(address: str, message: str, on_lost: Callable[[], None]) -> Iterator[None]:
    """End this process, with a message and exit code 1, when the cluster's head is gone.

    A thread keeps a connection open: the kernel closes it when the process at the other end dies.

    Args:
        address: host:port of the head's control store (GCS).
        message: one sentence for the user.
        on_lost: called before the end.
    """
    host, _, port = address.rpartition(":")
    over = threading.Event()

    def watch() -> None:
        reached = time.monotonic()
        while not over.is_set():
            try:
                with socket.create_connection((host, int(port)), timeout=5) as connection:
                    reached = time.monotonic()
                    _wait_until_closed(connection)
                # The head also closes connections on which nothing is said.
                continue
            except ConnectionRefusedError:
                pass  # nobody listens there any more
            except OSError:
                if time.monotonic() - reached < _UNREACHABLE_SECONDS:
                    over.wait(1)
                    continue
            if not over.is_set():
                _end(message, on_lost)

    threading.Thread(target=watch, daemon=True, name="head-watch").start()
    try:
        yield
    finally:
        over.set()


def _wait_until_closed(connection: socket.socket) -> None:
    """Read until the end; a machine that is switched off is noticed by keep-alive probes."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    try:
        while connection.recv(4096):
            pass
    except ConnectionResetError:
        pass


def _end(message: str, on_lost: Callable[[], None]) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    try:
        on_lost()
    finally:
        os._exit(LOST_EXIT_CODE)  # the main thread waits for Ray and cannot be woken
