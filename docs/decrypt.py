"""Opens one filed document of a Coffre backup without Coffre: docs/format.md as a program, for the day when nothing else is left.

Needs `pip install cryptography python-pkcs11`, a copy of the two SQLite databases, the sealed body, and the token with its PIN.

    SOFTHSM2_CONF=token/softhsm2.conf python decrypt.py coffre.db keyring.db blobs DOCUMENT-ID \\
        --module /usr/lib/softhsm/libsofthsm2.so --token coffre --pin-file token/pin > document.pdf
"""
# ruff: noqa: ANN001, ANN002, ANN201, D103, E501, INP001, T201  # one page to be read by a person in trouble, not part of the program

import argparse
import hashlib
import json
import sqlite3
import struct
import sys
from pathlib import Path

import pkcs11
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand


def context(label, *parts):  # format.md, 1
    raw = [
        part.to_bytes(8, "big") if isinstance(part, int) else part.encode() if isinstance(part, str) else part for part in parts
    ]
    return b"".join(struct.pack(">H", len(part)) + part for part in [label.encode(), *raw])


def open_field(scope_key, where, sealed):  # format.md, 3
    key = HKDFExpand(SHA256(), 32, b"coffre/field-key/v1").derive(scope_key)
    return AESGCM(key).decrypt(sealed[1:13], sealed[13:], b"\x01" + where)


def unwrap(session, key_label, key_id, wrapped, where):  # format.md, "Wrapped keys"
    version, suite, _number, _mechanism, iv_length = struct.unpack_from(">BBIIB", wrapped)
    if (version, suite, iv_length) != (1, 1, 12):
        sys.exit(f"this program reads wrapped keys of version 1, suite 1; this one is {version}, {suite}")
    key = session.get_key(pkcs11.ObjectClass.SECRET_KEY, label=key_label, id=key_id)
    gcm = pkcs11.GCMParams(wrapped[11:23], b"coffre/wrapped-key/v1\0" + wrapped[:11] + where, 128)
    return key.decrypt(wrapped[23:], mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=gcm)


def open_body(data_key, blob, document, version):  # format.md, 4
    salt, commitment, body = blob[48:72], blob[72:104], blob[104:]
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context("coffre/body/v1", blob[:48], document, version)
    derived = HKDFExpand(SHA512(), 76, info).derive(data_key)
    if derived[44:] != commitment:
        sys.exit("the body belongs to another document, version or key")
    cipher, base, plain = AESGCM(derived[:32]), int.from_bytes(derived[32:44], "big"), []
    for number in range(len(body) // 16400 + 1):
        chunk = body[number * 16400 : (number + 1) * 16400]
        plain.append(cipher.decrypt((base ^ number).to_bytes(12, "big"), chunk, None))
    return b"".join(plain)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("database", "keyring", "blobs", "document"):
        parser.add_argument(name)
    for name in ("--module", "--token", "--pin-file"):
        parser.add_argument(name, required=True)
    parser.add_argument("--key-label", default="coffre", help="as [kms] key_label")
    a = parser.parse_args()
    main_db, keyring = (sqlite3.connect(f"file:{path}?mode=ro", uri=True) for path in (a.database, a.keyring))
    (tenant,) = main_db.execute("SELECT tenant FROM installation").fetchone()
    version, blob_id, scope, data_key, description, patient, by = main_db.execute(
        "SELECT v.version, v.blob, v.scope, v.data_key_sealed, v.description_sealed, d.patient, v.deposited_by FROM document_versions v "
        "JOIN documents d ON d.id = v.document WHERE v.document = ? ORDER BY v.version DESC",
        (a.document,),
    ).fetchone()
    wrapped, master = keyring.execute("SELECT wrapped, master FROM scopes WHERE id = ?", (scope,)).fetchone()
    (key_id,) = keyring.execute("SELECT key_id FROM key_records WHERE use = 'kek' AND number = ?", (master,)).fetchone()
    token = pkcs11.lib(a.module).get_token(token_label=a.token)
    with token.open(user_pin=Path(a.pin_file).read_text().strip()) as session:
        label = f"{a.key_label}/kek/{master:04d}"
        scope_key = unwrap(session, label, key_id, wrapped, context("coffre/scope/v1", tenant, scope))
    data_key = open_field(scope_key, context("coffre/data-key/v1", tenant, scope, blob_id), data_key)
    blob = (Path(a.blobs) / blob_id[:2] / blob_id).read_bytes()
    plain = open_body(data_key, blob, a.document, version)
    row = f"{a.document}/{version}/{patient or ''}/{by}"
    said = json.loads(
        open_field(scope_key, context("coffre/field/v1", tenant, "document_versions", "description", row), description)
    )
    if hashlib.sha256(plain).hexdigest() != said["sha256"]:
        sys.exit("the bytes are not those that were received")
    print(f"{said['file_name']}: {len(plain)} bytes, digest confirmed", file=sys.stderr)
    sys.stdout.buffer.write(plain)


if __name__ == "__main__":
    main()
