"""The console's verbs: what they print, what they exit with."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from kms.terminal import Exit
from tests.vault.audit.conftest import Rig, created, patient, viewed
from vault.audit.cli import audit
from vault.errors import Forbidden, Invalid
from vault.model import Actor, Role


@pytest.fixture
def console(rig: Rig) -> Any:
    """What the verbs are given: a vault with a log and somebody at its console."""

    def console_actor(role: Role = Role.OWNER) -> Actor:
        return rig.auditor(role)

    rig.log.record_all([created(1), *[viewed(number) for number in range(20)]])
    people = SimpleNamespace(sessions=SimpleNamespace(console_actor=console_actor))
    return SimpleNamespace(vault=SimpleNamespace(auditing=rig.auditing, people=people))


def run(console: Any, *arguments: str) -> Result:
    return CliRunner().invoke(audit, arguments, obj=console)


def test_verify_says_whole_and_then_where_it_is_not(rig: Rig, console: Any) -> None:
    good = json.loads(run(console, "verify", "--json").stdout)
    assert (good["ok"], good["size"], good["first_bad"]) == (True, 22, None)
    assert len(good["root"]) == 64
    assert run(console, "verify").stdout.startswith("The log is whole: 23 entries")
    rig.db.write(lambda connection: connection.execute(text("DELETE FROM audit_entries WHERE position = 7")).rowcount)
    found = run(console, "verify", "--json")
    assert found.exit_code == Exit.NOT_WELL
    assert json.loads(found.stdout)["first_bad"] == {"index": 7, "kind": "missing"}
    assert "entry 7, missing" in found.stderr


def test_export_writes_a_whole_file_or_none(console: Any, tmp_path: Path) -> None:
    file = tmp_path / "journal.csv"
    assert run(console, "export", "-o", str(file)).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"#;complete;count=23;last=22" in file.read_bytes()
    assert run(console, "export", "--format", "jsonl", "--action", "document.view").stdout.count("document.view") == 20
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize(
    "options",
    [
        ("--since", "yesterday"),
        ("--until", "20260301"),
        ("--since", "2026-03-10", "--until", "2026-03-09"),
        ("--action", "document.views"),
        ("--outcome", "maybe"),
        ("--detector", "none"),
        ("--question", "everything"),
        *((f"--{name}", "Dupont") for name in ("actor", "patient", "document", "reference")),
    ],
    ids=" ".join,
)
def test_a_wrong_filter_is_refused_by_every_verb_that_takes_filters(rig: Rig, console: Any, options: tuple[str, ...]) -> None:
    before = rig.auditing.size()
    for verb in ("list", "export", "extent"):
        ran = run(console, verb, *options)
        assert (ran.exit_code != 0, ran.stdout) == (True, "")
        if isinstance(ran.exception, Invalid):
            assert ran.exception.details["field"] == options[-2].removeprefix("--")
        else:  # click's own: names the option and its choices
            assert f"'{options[-2]}'" in ran.stderr
    for words in ("who-saw Dupont", "report Dupont -o x.html", "report Dupont --reference -o x.html"):
        assert isinstance(run(console, *words.split()).exception, Invalid)
    assert rig.auditing.size() == before


@pytest.mark.parametrize("arguments", [("export", "--action", "nonsense"), ("who-saw", "x", "--since", "yesterday")])
def test_wrong_use_is_a_plain_error(console: Any, arguments: tuple[str, ...]) -> None:
    assert run(console, *arguments).exception is not None
    assert "reason" in getattr(run(console, *arguments).exception, "details", {})


def test_a_kept_checkpoint_and_a_proof(console: Any, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert run(console, "checkpoint", "-o", str(kept)).exit_code == 0
    assert run(console, "verify", "--since", str(kept)).exit_code == 0
    assert run(console, "proof", "3").stdout.startswith("c2sp.org/tlog-proof@v1\nextra ")
    assert run(console, "trust").stdout.startswith("# coffre.invalid/log/")
    assert "def ecdsa_verify" in run(console, "verifier").stdout
    assert run(console, "sheet", "-o", str(tmp_path / "sheet.html")).exit_code == 0


def test_who_saw(console: Any) -> None:
    answer = json.loads(run(console, "who-saw", patient(1), "--json").stdout)
    assert [entry["actor_name"] for entry in answer["entries"][-3:]] == ["Dr 1"] * 3


def test_every_verb_shows_an_example() -> None:
    for name, command in audit.commands.items():
        assert "Example:" in (command.help or ""), name


def test_names_are_revealed_only_for_a_reason(console: Any) -> None:
    named = run(console, "export", "--reveal", "contrôle annuel")
    assert "MARTIN Zoé 1" in named.stdout
    assert "MARTIN" not in run(console, "export").stdout
    assert not isinstance(named.exception, Forbidden)


def test_a_report_and_a_sheet_are_readable_by_their_maker_only(console: Any, tmp_path: Path) -> None:
    paper, weekly = tmp_path / "report.html", tmp_path / "sheet.html"
    assert run(console, "report", patient(1), "-o", str(paper)).exit_code == 0
    assert "MARTIN Zoé 1" in paper.read_text()
    assert run(console, "sheet", "-o", str(weekly)).exit_code == 0
    assert {each.stat().st_mode & 0o777 for each in (paper, weekly)} == {0o600}
    entries = json.loads(run(console, "who-saw", patient(1), "--json").stdout)["entries"]
    assert "patient.report_given" in {entry["action"] for entry in entries}
    assert run(console, "report", "0" * 32, "--reference", "-o", str(tmp_path / "none.html")).exit_code != 0
    assert not (tmp_path / "none.html").exists()


def test_a_purge_only_tells_until_it_is_agreed_to(rig: Rig, console: Any) -> None:
    assert "Nothing has expired." in run(console, "purge").stdout
    rig.clock.advance(days=400)
    told = run(console, "purge")
    assert "entries: client." in told.stdout
    assert "--yes" in told.stdout
    before = rig.auditing.size()
    assert json.loads(run(console, "purge", "--json").stdout)["purged"] is False
    assert rig.auditing.size() == before
    done = json.loads(run(console, "purge", "--yes", "--json").stdout)
    assert done["purged"] is True
    assert done["expired"]["client"] == before
    assert rig.auditing.verify(rig.auditor()).is_whole
    assert "access events" in str(run(console, "purge", "--access-years", "1").exception)


def test_questions_are_asked_by_name_and_counted(rig: Rig, console: Any) -> None:
    listed = json.loads(run(console, "list", "--question", "opened", "--limit", "5", "--json").stdout)["entries"]
    assert [entry["action"] for entry in listed] == ["document.view"] * 5
    assert run(console, "list", "--question", "outside").stdout == "None.\n"
    assert run(console, "list", "--question", "log", "--limit", "2").stdout.count("\n") == 2
    reference = rig.log.references.find(patient(1))
    assert reference is not None
    counted = json.loads(run(console, "extent", "--reference", reference.reference, "--question", "opened", "--json").stdout)
    assert counted == {"entries": 20, "patients": 1, "documents": 20, "people": 1}
    assert run(console, "export", "--format", "jsonl", "--question", "rights").stdout.count("audit.export") == 1


def test_verify_says_what_the_token_vouches_for(rig: Rig, console: Any) -> None:
    assert run(console, "verify").stdout.endswith("The token keeps no mark of it, or is away.\n")
    run(console, "checkpoint")
    assert run(console, "verify").stdout.endswith("The token vouches for 23 of them.\n")
    assert json.loads(run(console, "verify", "--json").stdout)["marked_size"] == 23
