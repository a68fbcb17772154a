"""The ``[web]`` table: what is unsafe is refused at start, with the sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault.errors import BadSettings, PasswordRefused
from vault.people.passwords import check
from web.settings import WebTable, judge, load

REST = """
[kms]
module = "/none.so"
token_label = "x"
pin_file = "pin"
[database]
url = "sqlite:///coffre.db"
keyring_url = "sqlite:///keyring.db"
[blobs]
url = "file:///blobs"
"""


@pytest.mark.parametrize("bind", ["127.0.0.1:8000", "[::1]:8000", "localhost:0", "127.8.0.1:1"])
def test_loopback_needs_nothing(bind: str) -> None:
    assert judge(WebTable(bind=bind)).is_loopback


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (WebTable(bind="0.0.0.0:8000"), "tls_certificate_file"),
        (WebTable(bind="[::]:8000"), "trusted_proxies"),
        (WebTable(bind="192.168.1.2:80"), "network"),
        (WebTable(bind="8000"), "address:port"),
        (WebTable(bind="127.0.0.1:99999"), "address:port"),
        (WebTable(tls_certificate_file=Path("/c.pem")), "both or neither"),
        (WebTable(tls_certificate_file=Path("/c.pem"), tls_key_file=Path("/none.pem")), "no file"),
        (WebTable(bind="0.0.0.0:1", trusted_proxies=("0.0.0.0/0",), hosts=("a",)), "everybody"),
        (WebTable(bind="0.0.0.0:1", trusted_proxies=("proxy",), hosts=("a",)), "not an address"),
        (WebTable(bind="0.0.0.0:1", trusted_proxies=("10.0.0.1",)), "hosts"),
        (WebTable(languages=("de",)), "languages"),
        (WebTable(languages=()), "languages"),
    ],
)
def test_what_is_unsafe_is_refused_by_name(table: WebTable, word: str) -> None:
    with pytest.raises(BadSettings, match=word):
        judge(table)


def test_a_private_key_that_others_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("x")
    key.chmod(0o644)
    table = WebTable(bind="0.0.0.0:443", hosts=("a.example",), tls_certificate_file=key, tls_key_file=key)
    with pytest.raises(BadSettings, match="chmod 600"):
        judge(table)
    key.chmod(0o600)
    assert judge(table).is_tls


def test_the_whole_file_is_read_and_unknown_words_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "coffre.toml"
    path.write_text(REST + '[web]\npractice = "Cabinet"\nhosts = ["coffre.example.fr"]\n')
    found = load(path, {"COFFRE_WEB_BIND": "127.0.0.1:8150"})
    assert found.web.bind == "127.0.0.1:8150"
    assert found.web.names == ("Cabinet",)
    assert found.web.hosts == ("coffre.example.fr",)
    path.write_text(REST + "[web]\npratice = 'x'\n")
    with pytest.raises(BadSettings, match="pratice"):
        load(path, {})
    path.write_text(REST + "[wbe]\n")
    with pytest.raises(BadSettings, match="wbe"):
        load(path, {})


def test_city_and_specialty_are_words_that_no_password_may_be_made_of(tmp_path: Path) -> None:
    path = tmp_path / "coffre.toml"
    path.write_text(REST + '[web]\npractice = "Cabinet des Tilleuls"\ncity = "Angoulême"\nspecialty = "Cardiologie"\n')
    names = load(path, {}).web.names
    for password in ("Angouleme!kzq-94", "C@rdi0logie!kzq-94"):
        with pytest.raises(PasswordRefused) as refused:
            check(password, names)
        assert refused.value.details["reason"] == "context"
