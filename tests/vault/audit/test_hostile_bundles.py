"""The offline verifier against whoever passes a bundle on: blanked lines, names that stand twice, lines that make it fail."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.vault.audit.conftest import Rig, patient, person, viewed
from tests.vault.audit.test_evidence import Lines, Members, bundle, judged, mentions, packed, unpack
from vault.audit import offline


@pytest.fixture
def log(rig: Rig) -> Rig:
    """Forty entries of four people about three patients, one a minute."""
    for number in range(40):
        rig.clock.advance(minutes=1)
        rig.log.record(viewed(number, of=number % 3, by=person(number % 4)))
    return rig


def blank(lines: Lines, position: int, *groups: str) -> Lines:
    """Lines of which one shows less."""
    return [
        {name: said for name, said in line.items() if at != position or name not in groups} for at, line in enumerate(lines)
    ]


@pytest.mark.parametrize(
    ("filters", "group"),
    [({"patient": patient(1)}, "subject"), ({"actor": person(2).person}, "actor")],
    ids=["patient", "actor"],
)
def test_an_entry_that_hides_its_counter_hides_no_other(log: Rig, filters: dict[str, Any], group: str) -> None:
    """As after an erasure; but one line that is blanked must not excuse three that are left out."""
    data = bundle(log, **filters)
    kind = judged(log, data)[0]
    members, lines = unpack(data)
    assert judged(log, packed(members, blank(lines, 3, group))) == (kind, None)
    for position in range(3, 6):
        blanked = blank(lines, position, group)
        assert judged(log, packed(members, blanked[: position - 2] + blanked[position:]))[0] == "withheld", position
        assert judged(log, packed(members, blanked[: position + 1] + blanked[position + 3 :]))[0] == "withheld", position
    if group == "actor":
        last = max(at for at, line in enumerate(lines) if not line.get("fence") and mentions(line, filters["actor"]))
        blanked = blank(lines, last, group)
        assert judged(log, packed(members, blanked[: last - 2] + blanked[last:]))[0] == "withheld"


def test_what_a_line_no_longer_shows_is_said(log: Rig) -> None:
    data = bundle(log)
    trusted = offline.read_trust(log.auditing.trust())
    assert offline.Bundle(io.BytesIO(data), trusted, None).verify().partial == 0
    members, lines = unpack(data)
    blanked = packed(members, blank(blank(lines, 17, "actor"), 21, "note", "client"))
    verdict = offline.Bundle(io.BytesIO(blanked), trusted, None).verify()
    assert verdict.partial == 2
    assert "2 lignes ne sont pas montrées en entier" in "\n".join(offline.sentences(verdict))


def repacked(members: Members, extra: tuple[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(*extra)
        for name, data in members.items():
            archive.writestr(name, data)
    return sink.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_nothing_unproven_stands_beside_what_is_proven(log: Rig) -> None:
    """Another reader (unzip, jq, a person) might believe the copy that was not checked."""
    data = bundle(log)
    members, lines = unpack(data)
    assert judged(log, repacked(members, ("entries.jsonl", b"{}\n")))[0] == "damaged"
    assert judged(log, repacked(members, ("LISEZ-MOI.txt", b"Rien d'anormal.")))[0] == "damaged"
    assert judged(log, packed(members, [{**lines[0], "actor_name": "Dr Innocent"}, *lines[1:]]))[0] == "damaged"

    def rewritten(old: bytes, new: bytes, name: str = "entries.jsonl") -> bytes:
        changed = {**members, name: members[name].replace(old, new, 1)}
        trailer = json.loads(members["trailer.json"])
        trailer["entries_sha256"] = hashlib.sha256(changed["entries.jsonl"]).hexdigest()
        changed["trailer.json"] = json.dumps(trailer).encode()
        changed_last = changed.pop("trailer.json")
        return repacked(changed, ("trailer.json", changed_last))

    assert judged(log, rewritten(b"", b""))[0] == "whole"
    assert judged(log, rewritten(b',"actor":', b',"actor":["","{}"],"actor":'))[0] == "damaged"
    assert judged(log, rewritten(b'\\"t\\":', b'\\"u\\":'))[0] == "damaged", "an entry without a time is no cut file"
    assert judged(log, rewritten(b"{\n", b'{"by": {"ref": "somebody"},\n', "manifest.json"))[0] == "damaged"


HOSTILE_LINES = {
    "a list for a leaf": b'{"index":0,"hash":"","leaf":"[]"}\n',
    "a number for a leaf": b'{"index":0,"hash":"","leaf":"1"}\n',
    "no time": b'{"index":0,"hash":"","leaf":"{}"}\n',
    "a time that is text": b'{"index":0,"hash":"","leaf":"{\\"t\\":\\"x\\"}"}\n',
    "a time without end": b'{"index":0,"hash":"","leaf":"{\\"t\\":Infinity}"}\n',
    "an index without end": b'{"index":1e999,"hash":"","leaf":"{\\"t\\":1}"}\n',
    "a deep leaf": b'{"index":0,"hash":"","leaf":' + json.dumps("[" * 200_000).encode() + b"}\n",
    "a deep line": b"[" * 200_000 + b"\n",
    "bytes": b"\xff\xfe\n",
    "nothing": b"\n",
}


@pytest.mark.parametrize("name", HOSTILE_LINES)
def test_a_hostile_line_gets_a_verdict_and_never_a_traceback(
    log: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    members, _ = unpack(bundle(log))
    file, trust = tmp_path / "journal.zip", tmp_path / "trust.txt"
    trust.write_text(log.auditing.trust())
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in {**members, "entries.jsonl": HOSTILE_LINES[name]}.items():
            archive.writestr(member, data)
    file.write_bytes(sink.getvalue())
    with pytest.raises(SystemExit) as end:
        offline.main([str(file), "--trust", str(trust)])
    assert end.value.code == offline.ALTERED
    assert capsys.readouterr().out.startswith("ALTÉRÉ : le fichier est endommagé")
