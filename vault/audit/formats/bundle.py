"""Owns the evidence bundle: a ZIP64 file, written as a stream, that an auditor verifies alone with one public key.

Members, in this order: ``manifest.json``, ``entries.jsonl``, ``checkpoint``, ``checkpoints.jsonl``, ``trailer.json``
(docs/format.md, "Evidence bundle"). It must not know SQL, filters or who asks.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Final, NamedTuple

from vault.audit.formats.ahead import ahead
from vault.audit.formats.zips import CHUNK, Sink, archive, member
from vault.audit.groups import SALT_BYTES, Opened

FORMAT: Final = "coffre-evidence/1"
FENCE: Final = "fence"


class Item(NamedTuple):
    """One entry as evidence: its leaf verbatim, the groups that are disclosed (salt ‖ JSON), its proof where one is needed."""

    position: int
    leaf: bytes
    hash: bytes
    opened: Opened
    proof: tuple[bytes, ...] | None = None
    is_fence: bool = False
    """Stands just outside of what was asked, to show that nothing is missing between it and the rest."""


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
        yield [item.position for item in page], "".join([line(item) for item in page]).encode()


def _json(record: Mapping[str, object]) -> bytes:
    return json.dumps(record, ensure_ascii=False, sort_keys=True, indent=1).encode() + b"\n"


def encoded(data: bytes) -> str:
    """Standard base64 (RFC 4648 §4)."""
    return b2a_base64(data, newline=False).decode()


def line(item: Item) -> str:
    """One line of ``entries.jsonl``. Leaf and groups are JSON text inside JSON, so that the hashed bytes are there verbatim."""
    position, leaf, hashed, (actor, subject, client, note), proof, is_fence = item
    shown = f'{{"index":{position},"hash":"{encoded(hashed)}","leaf":{encode_basestring(leaf.decode())}'
    if actor is not None:
        shown += f',"actor":{_group(actor)}'
    if subject is not None:
        shown += f',"subject":{_group(subject)}'
    if client is not None:
        shown += f',"client":{_group(client)}'
    if note is not None:
        shown += f',"note":{_group(note)}'
    if proof is not None:
        shown += ',"proof":["' + '","'.join([encoded(each) for each in proof]) + '"]' if proof else ',"proof":[]'
    return shown + (f',"{FENCE}":1}}\n' if is_fence else "}\n")


def _group(opened: bytes) -> str:
    return f'["{encoded(opened[:SALT_BYTES])}",{encode_basestring(opened[SALT_BYTES:].decode())}]'
