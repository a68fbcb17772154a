"""Owns the witness: a small service elsewhere that remembers the log's last head and signs it only if it grew honestly.

C2SP tlog-witness (add-checkpoint) and tlog-cosignature v1 (Ed25519, signature type 0x04). It must not know the vault: it runs
alone, with the log's trust file. ``ask`` is the vault's side of the same conversation.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vault.audit.note import Checkpoint, NoteRejected, Verifier, open_note, parse_checkpoint, split
from vault.audit.tree import ProofRejected, verify_consistency
from vault.errors import Invalid, StorageUnavailable, Tampered

COSIGNATURE: Final = 0x04
BODY_BYTES: Final = 64 * 1024
PROOF_LINES: Final = 63
ANSWER_S: Final = 10
SIZE: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness's public key under its name."""

    name: str
    public_key: bytes

    @property
    def key_id(self) -> bytes:
        """tlog-cosignature, "Format"."""
        return sha256(self.name.encode() + b"\n" + bytes([COSIGNATURE]) + self.public_key).digest()[:4]

    def __str__(self) -> str:
        """The verifier key as one line."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([COSIGNATURE]) + self.public_key).decode()}"


def parse_cosigner(line: str) -> Cosigner:
    """Read a witness's verifier key. Raises Invalid."""
    try:
        name, key_id, material = line.strip().split("+", 2)
        raw = base64.b64decode(material, validate=True)
        found = Cosigner(name, raw[1:])
    except (ValueError, binascii.Error) as error:
        raise Invalid("not a witness's key", field="key", reason="malformed") from error
    if raw[:1] != bytes([COSIGNATURE]) or len(raw) != 33 or found.key_id.hex() != key_id:
        raise Invalid("not a witness's key", field="key", reason="malformed")
    return found


def cosigned(time_s: int, text: str) -> bytes:
    """What a cosignature signs (tlog-cosignature, "Ed25519 signed message")."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


class Witness:
    """Remembers one head for each log in ``directory`` and signs what extends it. Thread-safe."""

    def __init__(self, directory: Path, name: str, trusted: list[Verifier], now: Callable[[], int]) -> None:
        """``now`` gives seconds since the epoch. The signing key is made at first use, mode 0600."""
        self._directory = directory
        self._trusted = trusted
        self._now = now
        self._lock = threading.Lock()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key = self._own_key()
        self.cosigner = Cosigner(name, self._key.public_key().public_bytes_raw())

    def _own_key(self) -> Ed25519PrivateKey:
        file = self._directory / "witness.key"
        if not file.exists():
            _write_once(file, Ed25519PrivateKey.generate().private_bytes_raw())
        return Ed25519PrivateKey.from_private_bytes(file.read_bytes())

    def add_checkpoint(self, body: bytes) -> Answer:
        """One ``add-checkpoint`` request: 200 with a cosignature, or why not (tlog-witness, "add-checkpoint")."""
        try:
            old, proof, note = _request(body)
            text, _ = open_note(note, [each for each in self._trusted if each.name == note.partition("\n")[0]])
            head = parse_checkpoint(text)
        except NoteRejected as error:
            known = any(body.partition(b"\n\n")[2].startswith(each.name.encode() + b"\n") for each in self._trusted)
            return Answer(404 if not known else 400 if error.kind in {"note", "checkpoint"} else 403)
        except (ValueError, binascii.Error):
            return Answer(400)
        if old > head.size:
            return Answer(400)
        with self._lock:
            return self._judge(old, proof, head, text)

    def _judge(self, old: int, proof: list[bytes], head: Checkpoint, text: str) -> Answer:
        seen = self._seen(head.origin)
        if old != (seen.size if seen else 0):
            return Answer(409, f"{seen.size if seen else 0}\n", "text/x.tlog.size")
        if seen is not None and seen.size == head.size and seen.root != head.root:
            return Answer(409, f"{seen.size}\n", "text/x.tlog.size")
        try:
            if seen is not None:
                verify_consistency(seen.size, head.size, proof, seen.root, head.root)
            elif proof:
                return Answer(422)
        except ProofRejected:
            return Answer(422)
        self._remember(head.origin, text)
        at = self._now()
        signature = at.to_bytes(8) + self._key.sign(cosigned(at, text))
        encoded = base64.b64encode(self.cosigner.key_id + signature).decode()
        return Answer(200, f"\u2014 {self.cosigner.name} {encoded}\n")

    def _file(self, origin: str) -> Path:
        return self._directory / f"{sha256(origin.encode()).hexdigest()}.checkpoint"

    def _seen(self, origin: str) -> Checkpoint | None:
        file = self._file(origin)
        return parse_checkpoint(file.read_text(encoding="utf-8")) if file.exists() else None

    def _remember(self, origin: str, text: str) -> None:
        """Durable before it is answered."""
        file = self._file(origin)
        partial = file.with_suffix(".new")
        partial.unlink(missing_ok=True)
        _write_once(partial, text.encode())
        partial.replace(file)
        _sync(self._directory)


def _write_once(file: Path, data: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)
    _sync(file.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _request(body: bytes) -> tuple[int, list[bytes], str]:
    """Old size, consistency proof, note. Raises ValueError."""
    head, separator, note = body.decode("utf-8").partition("\n\n")
    first, *proof = head.split("\n")
    size = first.removeprefix("old ")
    if not separator or not first.startswith("old ") or not (size.isascii() and size.isdigit()) or len(proof) > PROOF_LINES:
        raise ValueError("not an add-checkpoint request")
    return int(size), [base64.b64decode(line, validate=True) for line in proof], note


def server(witness: Witness, address: tuple[str, int]) -> ThreadingHTTPServer:
    """An HTTP server for ``witness``; ``serve_forever`` starts it."""

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "witness", ""
        timeout = ANSWER_S

        def do_POST(self) -> None:  # http.server's name
            length = self.headers.get("Content-Length", "")
            if self.path != "/add-checkpoint":
                answer = Answer(404)
            elif not (length.isascii() and length.isdigit()) or int(length) > BODY_BYTES:
                answer = Answer(413)
            else:
                answer = witness.add_checkpoint(self.rfile.read(int(length)))
            data = answer.body.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
            """Nothing: the remembered heads are the record."""

    return ThreadingHTTPServer(address, Handler)


def ask(url: str, cosigner: Cosigner, note: str, prove: Callable[[int], list[bytes]]) -> str:
    """The note with the witness's cosignature added; ``prove`` gives the consistency proof from a size to the note's.

    Raises Tampered where the witness remembers another past, StorageUnavailable where it does not answer.
    """
    old = 0
    for _ in range(3):
        proof = "".join(f"{base64.b64encode(each).decode()}\n" for each in (prove(old) if old else []))
        status, answer = _post(f"{url.rstrip('/')}/add-checkpoint", f"old {old}\n{proof}\n{note}".encode())
        size = parse_checkpoint(split(note)[0]).size
        if status == 200:
            return note + _checked(answer, cosigner, split(note)[0])
        if status == 409 and SIZE.fullmatch(answer.strip()) and int(answer) != old and int(answer) <= size:
            old = int(answer)
            continue
        if status in {409, 422}:
            raise Tampered("the witness remembers another past of this log", kind="witness")
        raise Invalid(f"the witness refused: HTTP {status}", field="witness", reason="refused")
    raise StorageUnavailable("the witness changed its mind three times")


def _post(url: str, body: bytes) -> tuple[int, str]:
    if not url.startswith(("http://", "https://")):
        raise Invalid("a witness has an http or https address", field="witness", reason="address")
    try:
        with urllib.request.urlopen(url, body, timeout=ANSWER_S) as response:  # noqa: S310  # the scheme was judged above
            return response.status, response.read(BODY_BYTES).decode("utf-8")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(BODY_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException, UnicodeDecodeError) as error:
        raise StorageUnavailable("the witness does not answer") from error


def _checked(answer: str, cosigner: Cosigner, text: str) -> str:
    """The signature lines of the answer that are this witness's, verified. Raises Tampered."""
    for line in answer.splitlines():
        name, _, encoded = line.removeprefix("\u2014 ").partition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except ValueError:  # somebody else's page
            continue
        if (name, raw[:4]) != (cosigner.name, cosigner.key_id) or len(raw) != 76:
            continue
        try:
            message = cosigned(int.from_bytes(raw[4:12]), text)
            Ed25519PublicKey.from_public_bytes(cosigner.public_key).verify(raw[12:], message)
        except InvalidSignature as error:
            raise Tampered("the witness's signature is false", kind="witness") from error
        return line + "\n"
    raise Tampered("the answer is not signed by this witness", kind="witness")
