"""Owns the evidence bundle: a ZIP64 file, written as a stream, that an auditor verifies alone with one public key.

Members, in this order: ``manifest.json``, ``entries.jsonl``, ``checkpoint``, ``checkpoints.jsonl``, ``trailer.json``
(docs/format.md, "Evidence bundle"). It must not know SQL, filters or who asks.
"""

from __future__ import annotations

import json
from binascii import b2a_base64 as _base64
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Final

from vault.audit.formats.ahead import ahead
from vault.audit.formats.zips import CHUNK, Sink, archive, member
from vault.audit.groups import SALT_BYTES, Opened

FORMAT: Final = "coffre-evidence/1"
FENCE: Final = "fence"


Item = tuple[int, bytes, bytes, Opened, tuple[bytes, ...] | None, bool]
"""One entry as evidence: its position, its leaf verbatim, the leaf hash, the groups that are disclosed (salt ‖ JSON), its proof
where one is needed, whether it is a *fence*: outside of what was asked, to show that nothing is missing in between.

A plain tuple: a class of its own costs as much to make as a cipher to open, a million times.
"""


def write(
    manifest: Mapping[str, object],
    items: Callable[[], Iterator[list[Item]]],
    checkpoint: str,
    older: list[str],
    made_at: int,
) -> Iterator[bytes]:
    """The bundle in chunks. ``older``: earlier signed checkpoints, smallest first, by which a fault is narrowed down."""
    sink = Sink()
    with archive(sink) as file:
        head = _json(manifest)
        file.writestr(member("manifest.json", made_at), head)
        digest, count, first, last = sha256(), 0, None, None
        with file.open(member("entries.jsonl", made_at), "w", force_zip64=True) as entries:
            for indexes, data in ahead(_formatted(items())):
                digest.update(data)
                entries.write(data)
                count += len(indexes)
                first, last = indexes[0] if first is None else first, indexes[-1]
                if sink.held >= CHUNK:
                    yield sink.take()
        file.writestr(member("checkpoint", made_at), checkpoint)
        file.writestr(member("checkpoints.jsonl", made_at), "".join(json.dumps(note) + "\n" for note in older))
        trailer = {
            "complete": True,
            "count": count,
            "first": first,
            "last": last,
            "entries_sha256": digest.hexdigest(),
            "manifest_sha256": sha256(head).hexdigest(),
        }
        file.writestr(member("trailer.json", made_at), _json(trailer))
    yield sink.take()


def _formatted(pages: Iterator[list[Item]]) -> Iterator[tuple[list[int], bytes]]:
    for page in pages:
        yield [item[0] for item in page], "".join([line(item) for item in page]).encode()


def _json(record: Mapping[str, object]) -> bytes:
    return json.dumps(record, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"


def encoded(data: bytes) -> str:
    """Standard base64 (RFC 4648 §4)."""
    return _base64(data, newline=False).decode()


def line(item: Item) -> str:
    """One line of ``entries.jsonl``. Leaf and groups are JSON text inside JSON, so that the hashed bytes are there verbatim."""
    position, leaf, hashed, (actor, subject, client, note), proof, is_fence = item
    text, quoted = _base64, encode_basestring
    shown = f'{{"index":{position},"hash":"{text(hashed, newline=False).decode()}","leaf":{quoted(leaf.decode())}'
    # Written out without a loop: four times for every entry of an export.
    if actor is not None:
        salt, said = text(actor[:SALT_BYTES], newline=False).decode(), quoted(actor[SALT_BYTES:].decode())
        shown += f',"actor":["{salt}",{said}]'
    if subject is not None:
        salt, said = text(subject[:SALT_BYTES], newline=False).decode(), quoted(subject[SALT_BYTES:].decode())
        shown += f',"subject":["{salt}",{said}]'
    if client is not None:
        salt, said = text(client[:SALT_BYTES], newline=False).decode(), quoted(client[SALT_BYTES:].decode())
        shown += f',"client":["{salt}",{said}]'
    if note is not None:
        salt, said = text(note[:SALT_BYTES], newline=False).decode(), quoted(note[SALT_BYTES:].decode())
        shown += f',"note":["{salt}",{said}]'
    if proof is not None:
        shown += ',"proof":["' + '","'.join([encoded(each) for each in proof]) + '"]' if proof else ',"proof":[]'
    return shown + (f',"{FENCE}":1}}\n' if is_fence else "}\n")
