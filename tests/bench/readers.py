"""Owns clinicians who open files while something else goes on: in a process of their own, as the server is. No figures here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection

from kms.settings import KmsSettings
from kms.token import TokenKeys
from vault.model import ScopeId, TenantId
from vault.sealing.binding import scope_context
from vault.storage.db import Database
from vault.storage.keyring import Keyring, SqlRegistry

READERS = 4
SCOPES = 20_000
"""They open any of the first so many."""
TENANT = TenantId("7e" * 16)


class Readers:
    """A process with a thread for each reader; they rest until they are told."""

    def __init__(self, settings: KmsSettings, url: str) -> None:
        context = get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(settings, url, there))
        self._process.start()
        self._pipe.recv()

    @contextmanager
    def reading(self) -> Iterator[list[float]]:
        """They read during the block; then the list holds how many seconds each opening took."""
        times: list[float] = []
        self._pipe.send(True)
        try:
            yield times
        finally:
            self._pipe.send(False)
            times += self._pipe.recv()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


def _serve(settings: KmsSettings, url: str, pipe: Connection) -> None:
    with closing(Database(url)) as db, closing(TokenKeys(settings, SqlRegistry(db))) as keys:
        keyring = Keyring(db)
        for number in range(200):
            _open(keys, keyring, number)  # sessions, statements
        pipe.send(None)
        while _told(pipe):
            stop, times = threading.Event(), list[float]()
            threads = [threading.Thread(target=_read, args=(stop, keys, keyring, times)) for _ in range(READERS)]
            for thread in threads:
                thread.start()
            _told(pipe)
            stop.set()
            for thread in threads:
                thread.join()
            pipe.send(times)


def _told(pipe: Connection) -> bool:
    try:
        return bool(pipe.recv())
    except EOFError:
        return False


def _read(stop: threading.Event, keys: TokenKeys, keyring: Keyring, times: list[float]) -> None:
    """A clinician opens a file every 20 ms."""
    number = threading.get_ident()
    while not stop.wait(0.02):
        number += 7919
        times.append(_open(keys, keyring, number))


def _open(keys: TokenKeys, keyring: Keyring, number: int) -> float:
    scope = ScopeId(f"{number % SCOPES:032x}")
    start = time.perf_counter()
    keys.unwrap(keyring.scope(scope).wrapped, context=scope_context(TENANT, scope)).wipe()
    return time.perf_counter() - start
