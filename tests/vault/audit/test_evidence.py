"""Evidence bundles under attack, judged by the offline verifier: each way of meddling is named, and at the right entry."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import text

from tests.vault.audit.conftest import Rig, created, document, patient, person, viewed
from vault.audit import note, offline
from vault.audit.auditing import Format
from vault.audit.search import Filters
from vault.errors import Tampered
from vault.model import Micros

Lines = list[dict[str, Any]]
Members = dict[str, bytes]


@pytest.fixture
def log(rig: Rig) -> Rig:
    """Forty entries of four people about three patients, one a minute."""
    rig.log.record_all([created(number) for number in range(3)])
    for number in range(40):
        rig.clock.advance(minutes=1)
        rig.log.record(viewed(number, of=number % 3, by=person(number % 4)))
        if number in {9, 24}:
            rig.auditing.checkpoints.make(keep=True)
    return rig


def bundle(rig: Rig, **filters: Any) -> bytes:
    return b"".join(rig.auditing.export(rig.auditor(), Filters(**filters), Format.BUNDLE).chunks)


def judged(rig: Rig, data: bytes, since: str | None = None) -> tuple[str, int | None]:
    """(kind of verdict or of fault, first bad index)."""
    trusted = offline.read_trust(rig.auditing.trust())
    kept = offline.open_checkpoint(since, trusted) if since else None
    try:
        return offline.Bundle(io.BytesIO(data), trusted, kept).verify().kind, None
    except offline.Fault as fault:
        return fault.kind, fault.index


def unpack(data: bytes) -> tuple[Members, Lines]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return members, [json.loads(line) for line in members["entries.jsonl"].splitlines()]


def packed(members: Members, lines: Lines) -> bytes:
    """A bundle made anew, with a trailer that fits: what a careful forger hands over."""
    entries = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    trailer = json.loads(members["trailer.json"])
    trailer.update(count=len(lines), entries_sha256=hashlib.sha256(entries).hexdigest())
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in {**members, "entries.jsonl": entries, "trailer.json": json.dumps(trailer).encode()}.items():
            archive.writestr(name, data)
    return sink.getvalue()


def forged(data: bytes, change: Callable[[Lines], Lines | None]) -> bytes:
    members, lines = unpack(data)
    return packed(members, change(lines) or lines)


def restated(line: dict[str, Any]) -> None:
    """Make the stated hash fit the leaf."""
    line["hash"] = base64.b64encode(hashlib.sha256(b"\x00" + line["leaf"].encode()).digest()).decode()


def renumbered(lines: Lines) -> Lines:
    for index, line in enumerate(lines):
        line["index"] = index
    return lines


def edit_leaf(lines: Lines) -> None:
    lines[17]["leaf"] = lines[17]["leaf"].replace("document.view", "document.prin")


def edit_leaf_and_its_hash(lines: Lines) -> None:
    edit_leaf(lines)
    restated(lines[17])


def swap_groups(lines: Lines) -> None:
    lines[17]["actor"], lines[18]["actor"] = lines[18]["actor"], lines[17]["actor"]


def change_a_group(lines: Lines) -> None:
    lines[17]["client"][1] = lines[17]["client"][1].replace("192.0.2.7", "192.0.2.8")


def drop_the_end(lines: Lines) -> Lines:
    return lines[:30]


def drop_one(lines: Lines) -> Lines:
    return lines[:17] + lines[18:]


def drop_one_and_renumber(lines: Lines) -> Lines:
    return renumbered(drop_one(lines))


def swap_two(lines: Lines) -> None:
    lines[17], lines[23] = lines[23], lines[17]


def swap_two_and_renumber(lines: Lines) -> Lines:
    swap_two(lines)
    return renumbered(lines)


def repeat_one(lines: Lines) -> Lines:
    return [*lines[:17], lines[16], *lines[17:]]


def test_an_untouched_bundle_is_intact(log: Rig) -> None:
    data = bundle(log)
    assert judged(log, data) == ("whole", None)
    members, lines = unpack(data)
    assert list(members) == ["manifest.json", "entries.jsonl", "checkpoint", "checkpoints.jsonl", "trailer.json"]
    assert [line["index"] for line in lines] == list(range(45))
    assert json.loads(lines[-1]["leaf"])["action"] == "audit.export"
    assert json.loads(members["trailer.json"])["complete"] is True
    assert judged(log, packed(members, lines)) == ("whole", None)


@pytest.mark.parametrize(
    ("change", "kind", "index"),
    [
        (edit_leaf, "edited", 17),
        (edit_leaf_and_its_hash, "group", 17),
        (swap_groups, "group", 17),
        (change_a_group, "group", 17),
        (drop_the_end, "truncated", 30),
        (drop_one, "missing", 17),
        (drop_one_and_renumber, "missing", None),
        (swap_two, "swapped", 17),
        (swap_two_and_renumber, "swapped", 17),
        (repeat_one, "swapped", 17),
    ],
)
def test_meddling_with_entries_is_named(
    log: Rig, change: Callable[[Lines], Lines | None], kind: str, index: int | None
) -> None:
    found, at = judged(log, forged(bundle(log), change))
    if change is edit_leaf_and_its_hash:
        assert (found, at) == ("rewritten", 14), "narrowed down to the checkpoint before"
        return
    assert found == kind
    if index is not None:
        assert at == index
    else:
        assert at is not None
        assert 17 <= at <= 21, "the hole shows at the next entry of the same person or patient"


def other_key(members: Members, *, copied_id: bool) -> Members:
    """The checkpoint signed by somebody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text, signatures = note.split(members["checkpoint"].decode())
    name, real = signatures[0]
    signer = note.Verifier(name, real[:4] if copied_id else hashlib.sha256(spki).digest()[:4], spki)

    def sign(digest: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(digest, ec.ECDSA(Prehashed(SHA256()))))
        return r.to_bytes(32) + s.to_bytes(32)

    return {**members, "checkpoint": note.sign(text, signer, sign).encode()}


@pytest.mark.parametrize(("copied_id", "kind"), [(False, "unknown_key"), (True, "signature")])
def test_another_key_is_refused(log: Rig, *, copied_id: bool, kind: str) -> None:
    members, lines = unpack(bundle(log))
    assert judged(log, packed(other_key(members, copied_id=copied_id), lines))[0] == kind


def test_a_cut_bundle_is_never_taken_for_a_whole_one(log: Rig) -> None:
    data = bundle(log)
    for length in (10, len(data) // 3, len(data) // 2, len(data) - 30, len(data) - 1):
        assert judged(log, data[:length])[0] in {"cut", "damaged"}, length
    members, lines = unpack(data)
    del members["trailer.json"]
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    assert judged(log, sink.getvalue())[0] == "cut"
    assert judged(log, b"PDF-1.4")[0] == "format"
    assert len(lines) == 45


def test_one_flipped_byte_anywhere_is_found(log: Rig) -> None:
    members, _ = unpack(bundle(log))
    entries = members["entries.jsonl"]
    for at in range(200, len(entries), len(entries) // 60):
        flipped = bytearray(entries)
        flipped[at] ^= 1
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            for name, member in {**members, "entries.jsonl": bytes(flipped)}.items():
                archive.writestr(name, member)
        assert judged(log, sink.getvalue())[0] != "whole", at


def period(log: Rig) -> dict[str, Any]:
    """The middle of the log."""
    return {"since": Micros(log.clock.now - 30 * 60_000_000), "until": Micros(log.clock.now - 10 * 60_000_000)}


@pytest.mark.parametrize(
    "ask",
    [
        lambda log: {"patient": patient(1)},
        lambda log: {"patient": patient(1), **period(log)},
        lambda log: {"actor": person(2).person},
        lambda log: {"actor": person(2).person, **period(log)},
        period,
        lambda log: {"since": period(log)["since"]},
        lambda log: {"until": period(log)["until"]},
        lambda log: {"patient": patient(77)},
        lambda log: {"actor": person(17).person},
    ],
    ids=["patient", "patient-period", "actor", "actor-period", "period", "since", "until", "nobody", "no-one"],
)
def test_no_row_can_be_withheld_from_a_filtered_export(log: Rig, ask: Callable[[Rig], dict[str, Any]]) -> None:
    filters = ask(log)
    log.auditing.timeline(log.auditor(), Filters())
    data = bundle(log, **filters)
    log.log.record(viewed(99, of=1, by=person(2)))
    verdict = judged(log, data)
    assert verdict[1] is None
    members, lines = unpack(data)
    own = json.loads(members["manifest.json"])["export_index"]
    for position, line in enumerate(lines):
        found = judged(log, packed(members, lines[:position] + lines[position + 1 :]))[0]
        if line["index"] == own:
            assert found in {"request", "withheld"}
        elif filters.keys() == {"actor"} and not line.get("fence") and not mentions(line, filters["actor"]):
            continue
        else:
            assert found == "withheld", position
    assert judged(log, packed(members, lines)) == verdict


def mentions(line: dict[str, Any], who: str) -> bool:
    return who in line.get("actor", ["", ""])[1]


def test_a_fence_shows_no_more_than_its_counter(log: Rig) -> None:
    _, lines = unpack(bundle(log, patient=patient(1), **period(log)))
    fences = [line for line in lines if line.get("fence")]
    assert len(fences) == 2
    assert all(set(line) == {"index", "hash", "leaf", "subject", "proof", "fence"} for line in fences)


def test_meddling_with_a_filtered_export(log: Rig) -> None:
    data = bundle(log, patient=patient(1))

    def edit(lines: Lines) -> None:
        lines[3]["leaf"] = lines[3]["leaf"].replace("granted", "denied")

    def edit_and_restate(lines: Lines) -> None:
        edit(lines)
        restated(lines[3])

    def other_group(lines: Lines) -> None:
        lines[3]["actor"] = lines[4]["actor"]

    def swap(lines: Lines) -> None:
        lines[3], lines[4] = lines[4], lines[3]

    index = unpack(data)[1][3]["index"]
    for change, kind in ((edit, "edited"), (edit_and_restate, "edited"), (other_group, "group")):
        assert judged(log, forged(data, change)) == (kind, index)
    assert judged(log, forged(data, swap))[0] == "swapped"


def test_a_bundle_cannot_be_passed_off_as_another_request(log: Rig) -> None:
    members, lines = unpack(bundle(log, patient=patient(1)))
    manifest = json.loads(members["manifest.json"])
    manifest["request"] = {"kind": "selection"}
    members["manifest.json"] = json.dumps(manifest).encode()
    assert judged(log, packed(members, lines))[0] == "request"


def test_a_selection_says_what_it_cannot_prove(log: Rig) -> None:
    assert judged(log, bundle(log, document=document(5))) == ("selection", None)


def test_a_kept_checkpoint_finds_history_rewritten_with_the_token(log: Rig) -> None:
    kept = log.auditing.checkpoint(log.auditor()).note
    assert judged(log, bundle(log), since=kept) == ("whole", None)
    log.auditing.extends(log.auditor(), kept)
    rewrite(log)
    data = bundle(log)
    assert judged(log, data) == ("whole", None), "the bundle alone can't show it"
    assert judged(log, data, since=kept)[0] == "rollback"
    with pytest.raises(Tampered):
        log.auditing.extends(log.auditor(), kept)


def rewrite(rig: Rig) -> None:
    """A new past under the same keys: what only somebody with the token's PIN and the log's key can make."""
    rig.sql(*[f"DELETE FROM {table}" for table in ("audit_entries", "audit_tiles", "audit_counters", "audit_checkpoints")])
    rig.log._head = None
    rig.keyring.write(lambda connection: connection.execute(text("DELETE FROM log_marks")).rowcount)
    rig.log.record_all([viewed(number, of=number % 2) for number in range(60)])


def test_a_single_entry_is_proven_alone(log: Rig) -> None:
    proof = log.auditing.proof(log.auditor(), 12)
    trusted = offline.read_trust(log.auditing.trust())
    verdict, entry = offline.verify_proof(proof, trusted)
    assert (verdict.kind, entry.index, entry.leaf["action"]) == ("entry", 12, "document.view")
    assert entry.of("actor", "ref") == person(0).person
    for forged_proof in (proof.replace("index 12", "index 13"), proof.replace("\n\n", "\nAAAA\n\n", 1)):
        with pytest.raises(offline.Fault):
            offline.verify_proof(forged_proof, trusted)


@pytest.mark.parametrize(("damage", "status"), [(None, 0), (edit_leaf, 1), (drop_the_end, 2)])
def test_the_verifier_stands_alone(
    log: Rig, tmp_path: Path, damage: Callable[[Lines], Lines | None] | None, status: int
) -> None:
    data = bundle(log)
    program, file, trust = tmp_path / "coffre_verify.py", tmp_path / "journal.zip", tmp_path / "trust.txt"
    program.write_text(Path(offline.__file__).read_text())
    file.write_bytes(data if damage is None else forged(data, damage))
    trust.write_text(log.auditing.trust())
    command = [sys.executable, "-I", "-S", str(program), str(file), "--trust", str(trust)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (status, "")
    french, english = done.stdout.splitlines()
    expected = {
        0: ("Journal intact du ", "Log intact from "),
        1: ("ALTÉRÉ : ", "ALTERED: "),
        2: ("INCOMPLET : ", "INCOMPLETE: "),
    }
    assert french.startswith(expected[status][0])
    assert english.startswith(expected[status][1])
    trust.write_text("nonsense")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 3


def test_a_damaged_file_is_named_and_never_a_traceback(log: Rig) -> None:
    data = bundle(log)
    start = data.index(b"entries.jsonl")
    for at in range(start + 60, start + 1_500, 48):
        damaged = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        assert judged(log, damaged)[0] == "damaged", at
