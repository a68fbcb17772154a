"""The verbs of disposal on a real vault, and a restore from a backup that is older than the disposal."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from kms.settings import KmsSettings
from tests.vault.upkeep.practice import FAMILY, Practice, found, paper
from vault.audit.events import Action
from vault.cli import Console
from vault.demo import phone
from vault.errors import Conflict, Invalid, NotFound
from vault.model import Client, PatientId, Role
from vault.opening import Vault, open_vault
from vault.storage.schema import documents, legal_holds, patients
from vault.upkeep.retention_cli import retention

pytestmark = pytest.mark.hsm
PASSWORD = "marmite-verglas-ocarina-71"
OLD = date(2001, 5, 2)
Credentials = Callable[..., str]


def enrolled(vault: Vault, username: str, role: Role, path: Path) -> Credentials:
    """Somebody at work; gives what writes their credentials, each code good once: now, and the one after."""
    people, desk = vault.people, Client(agent="test")
    people.accounts.create(
        people.sessions.console_actor(), username=username, display_name=username, role=role, password=PASSWORD
    )
    halfway = people.sign_in.password(username, PASSWORD, desk)
    secret = people.sign_in.enrolment(halfway.token).secret
    people.sign_in.confirm_enrolment(halfway.token, phone.code(secret, phone.present() - phone.STEP_S), desk)

    def write(steps: int = 0) -> str:
        path.write_text(f"{username}\n{PASSWORD}\n{phone.code(secret, time.time() + steps * phone.STEP_S)}\n")
        path.chmod(0o600)
        return str(path)

    return write


def said(practice: Practice, *words: str) -> Any:
    """What a verb answered; an error comes back as itself."""
    with closing(Console(practice.settings.path, {})) as console:
        result = CliRunner().invoke(retention, [*words, "--json"], obj=console)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def old_file(practice: Practice, vault: Vault, given: str) -> PatientId:
    patient = practice.patient(vault, given)
    body = io.BytesIO(paper(sum(map(ord, given))))
    vault.documents.store(practice.anne(vault), patient, type="11502-2", act_date=OLD, file_name="a.pdf", body=body)
    return patient


@pytest.mark.timeout(120)
def test_two_people_at_the_console_and_a_restore_from_before(softhsm: KmsSettings, tmp_path: Path) -> None:
    practice = found(tmp_path / "vault" / "coffre.toml", softhsm)
    with practice.vault() as vault:
        gone, held = old_file(practice, vault, "Zoé"), old_file(practice, vault, "Léa")
        owner = enrolled(vault, "odile", Role.OWNER, tmp_path / "owner")
        dpo = enrolled(vault, "denis", Role.DPO, tmp_path / "dpo")
    first = practice.create()
    with practice.vault() as vault:
        vault.keeping.hold(practice.anne(vault), held, "Procédure en cours")
    proposed = said(practice, "propose", gone, "--credentials", owner())
    approved = said(practice, "approve", proposed["disposal"], "--yes", "--credentials", dpo())
    assert (approved["ok"], approved["state"]) == (True, "done")
    page = tmp_path / "certificat.txt"
    said(practice, "certificate", proposed["disposal"], "-o", str(page), "--credentials", dpo(1))
    assert gone in page.read_text()
    assert FAMILY not in page.read_text()
    with pytest.raises(Conflict) as refused:
        said(practice, "propose", held, "--credentials", owner(1))
    assert refused.value.details["reason"] == "on_hold"
    assert said(practice, "finish") == {"ok": True, "finished": 0}
    practice.create()

    blank = practice.elsewhere(tmp_path / "blank")
    done = practice.run("restore", str(practice.place), "--older", "--backup", first, settings=blank)
    assert (done.status, done.data["erased_again"]) == (0, 1), done
    with closing(open_vault(blank)) as vault:
        anne = practice.anne(vault)
        assert [each.id for each in vault.patients.search(anne, FAMILY.lower()).items] == [held]
        with vault.db.read() as connection:
            row = connection.execute(select(patients.c.state, patients.c.identity_sealed).where(patients.c.id == gone)).one()
            assert tuple(row) == ("erased", b"")
            assert connection.execute(select(documents.c.id).where(documents.c.patient == gone)).all() == []
            assert connection.execute(select(legal_holds)).all() == [], "that was set after the backup"
        with pytest.raises(NotFound):
            vault.patients.get(anne, gone)
        assert vault.auditing.verify(vault.people.sessions.console_actor(Role.AUDITOR)).is_whole
        [document] = vault.documents.list(anne, held).items
        with closing(vault.documents.open(anne, document.id, Action.DOCUMENT_VIEW)) as opened:
            assert b"".join(opened.read())


@pytest.mark.timeout(120)
def test_what_is_said_and_listed_at_the_console(softhsm: KmsSettings, tmp_path: Path) -> None:
    practice = found(tmp_path / "vault" / "coffre.toml", softhsm)
    with practice.vault() as vault:
        old = old_file(practice, vault, "Zoé")
        owners = [enrolled(vault, f"odile{n}", Role.OWNER, tmp_path / f"owner{n}") for n in range(3)]
    (tmp_path / "reason").write_text("Procédure en cours\n")
    (tmp_path / "facts").write_text("2002-03-04\n2010-01-01\n")
    found_due = said(practice, "due", "--credentials", owners[0]())
    assert [(each["patient"], each["kept_until"], each["rule"]) for each in found_due["files"]] == [(old, "2021-05-02", "R-20")]
    said(practice, "say", old, "--facts", str(tmp_path / "facts"), "--credentials", owners[0](1))
    held = said(
        practice, "hold", old, "--reason-file", str(tmp_path / "reason"), "--since", "2020-01-01", "--credentials", owners[1]()
    )
    told = said(practice, "of", old, "--credentials", owners[1](1))
    assert (told["kept_until"], told["on_hold"], told["holds"][0]["since"]) == (None, True, "2020-01-01")
    said(practice, "clear", held["hold"], "--reason-file", str(tmp_path / "reason"), "--credentials", owners[2]())
    assert said(practice, "waiting", "--credentials", owners[2](1))["disposals"] == []
    (tmp_path / "facts").write_text("2002-03-04\nhier\n")
    with pytest.raises(Invalid):
        said(practice, "say", old, "--facts", str(tmp_path / "facts"), "--credentials", str(tmp_path / "owner0"))
