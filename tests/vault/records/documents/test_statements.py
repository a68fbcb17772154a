"""Statements over documents stay on their indexes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from tests.conftest import Clock
from tests.vault.records.desk import Desk, open_desk
from vault.audit.events import Action


@pytest.fixture
def desk(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with open_desk(tmp_path, clock) as desk:
        yield desk


def test_hot_statements_never_read_every_document(desk: Desk) -> None:
    """Depositing and listing must cost the same among ten documents and among a million."""
    seen: list[str] = []

    def watch(statement: str) -> None:
        if statement.startswith("SELECT") and "document_versions" in statement:
            seen.append(statement)

    def listen(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(watch)  # whatever is said to SQLite, by SQLAlchemy or past it

    event.listen(desk.house.db.engine, "begin", listen)
    filed = desk.deposit()
    desk.documents.list(desk.clinician, desk.patient)
    with desk.documents.open(desk.clinician, filed.id, Action.DOCUMENT_DOWNLOAD) as opened:
        assert b"".join(opened.read())
    event.remove(desk.house.db.engine, "begin", listen)
    plans = {step for statement in seen for step in desk.plan(statement)} - {"SCAN CONSTANT ROW"}
    assert len(seen) >= 3
    assert not [step for step in plans if step.startswith("SCAN") or "(state=?" in step], plans
