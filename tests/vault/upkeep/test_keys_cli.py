"""What an operator types about keys: a vault with a way back, rotations of every use, and the same beside a key process."""

from __future__ import annotations

import codecs
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kms.settings import KmsSettings
from tests.vault.upkeep.host import Host, run, said
from tests.vault.upkeep.test_recovery import anne_of
from tests.vault.upkeep.test_reindex import admit, lost
from vault import founding
from vault.errors import BadSettings, Conflict
from vault.opening import now_micros, open_vault
from vault.settings import VaultSettings, load
from vault.storage.slots import TokenCopies
from vault.upkeep import ceremony, cloning

pytestmark = pytest.mark.hsm
ROOT = Path(__file__).parents[3]


def asked_for(softhsm: KmsSettings) -> list[str]:
    words = ["init", "--module", str(softhsm.module), "--token-label", softhsm.token_label]
    return [*words, "--pin-file", str(softhsm.pin_file), "--softhsm-conf", str(softhsm.softhsm_conf)]


def recovery_line(config: Path) -> dict[str, Any]:
    report = json.loads(run(config, "doctor", "--json").stdout)
    [check] = [check for check in report["checks"] if check["id"] == "recovery"]
    return dict(check)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "vault" / "coffre.toml"


# --- the ceremony ---


def test_a_program_must_choose_a_way_back_before_anything_is_made(softhsm: KmsSettings, config: Path) -> None:
    refused = run(config, *asked_for(softhsm), "--json")
    assert refused.exit_code == 2
    assert "--recovery-cards" in refused.stderr
    assert not config.exists()
    for words in (["--without-recovery", "yes"], ["--recovery-cards", "two"], ["--recovery-cards", "2/3", "--token-copy", "x"]):
        with pytest.raises(BadSettings):
            run(config, *asked_for(softhsm), *words)
    assert not config.exists()


def test_settings_that_stand_already_name_the_token(softhsm: KmsSettings, config: Path) -> None:
    nothing = run(config, "init", "--recovery-cards", "2/3")
    assert nothing.exit_code == 2
    assert "--token-label" in nothing.stderr
    founding.write_settings(config, softhsm, practice="Cabinet", bind="127.0.0.1:1")
    assert said(run(config, "init", "--recovery-cards", "2/3", "--json"), exit_code=1)["recovery"] == "cards"


def test_cards_are_tried_before_the_vault_is_called_made(softhsm: KmsSettings, config: Path) -> None:
    made = said(run(config, *asked_for(softhsm), "--recovery-cards", "2/3", "--json"), exit_code=1)
    assert (made["ok"], made["recovery"], len(made["cards"])) == (False, "cards", 3)
    assert recovery_line(config)["ok"] is False
    again = said(run(config, *asked_for(softhsm), "--json"), exit_code=1)
    assert again["recovery"] == "missing"
    tried = said(run(config, "keys", "recovery-rehearse", "--json", typed="\n".join(made["cards"][1:]) + "\n"))
    assert tried["copies"] == 3
    assert said(run(config, *asked_for(softhsm), "--json"))["recovery"] == "tried"
    assert recovery_line(config)["ok"] is True


def test_a_copy_of_the_token_opens_everything_and_says_what_it_lacks_later(
    softhsm: KmsSettings, config: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "usb"
    made = said(run(config, *asked_for(softhsm), "--token-copy", str(copy), "--json"))
    assert (made["ok"], made["recovery"], made["copies"]) == (True, "token_copy", 3)
    assert recovery_line(config)["ok"] is True
    with pytest.raises(Conflict, match="holds something already"):
        run(config, "keys", "token-copy", str(copy))
    settings = load(config, {})
    burnt = replace(settings, kms=replace(settings.kms, softhsm_conf=copy / "softhsm2.conf"))
    with closing(open_vault(burnt)) as vault:  # the copy in the token's place
        assert vault.keys.health().ok
    assert said(run(config, "keys", "rotate", "kek", "--json"))["ok"]
    line = recovery_line(config)
    assert line["ok"] is False
    assert "lacks kek/2" in line["detail"]
    assert said(run(config, "keys", "token-copy", str(tmp_path / "second"), "--json"))["copies"] == 3
    assert recovery_line(config)["ok"] is True


def test_a_copy_that_lacks_a_key_is_not_called_good(softhsm: KmsSettings, config: Path, tmp_path: Path) -> None:
    run(config, *asked_for(softhsm), "--without-recovery", ceremony.SENTENCE)
    settings = load(config, {})
    copied = cloning.copy_token(settings.kms, tmp_path / "usb")
    keys = [part for part in (tmp_path / "usb" / "tokens").rglob("*.object") if part.name != "token.object"]
    assert len(keys) == 6, "two secret ones, two pairs"
    for part in keys[:3]:  # their names are random: of any three, one at least is no public key
        part.unlink()
    with pytest.raises(Conflict, match="the copy is not good"):
        cloning.try_copy(settings, copied, tmp_path / "usb", now_micros)
    with closing(open_vault(settings)) as vault:
        assert TokenCopies(vault.keyring_db).newest() is None


def test_without_a_way_back_the_doctor_stays_red(softhsm: KmsSettings, config: Path) -> None:
    made = said(run(config, *asked_for(softhsm), "--without-recovery", ceremony.SENTENCE, "--json"))
    assert (made["ok"], made["recovery"]) == (True, "none")
    line = recovery_line(config)
    assert line["ok"] is False
    assert "coffre keys recovery-create" in line["detail"]


def test_a_question_that_nobody_answers_is_wrong_use_in_a_sentence(softhsm: KmsSettings, config: Path) -> None:
    run(config, *asked_for(softhsm), "--without-recovery", ceremony.SENTENCE)
    before = said(run(config, "keys", "list", "--json"))
    left = run(config, "keys", "retire", "kek", "1")
    assert left.exit_code == 2, "1 would say that something is not well"
    assert left.stderr.startswith("User name: \n")
    assert left.stderr.endswith("Error: Stopped at this question. Without a terminal, options answer it: see --help.\n")
    assert said(run(config, "keys", "list", "--json")) == before


class Terminal:
    """A person at a terminal: reads until a word, types a line."""

    def __init__(self, command: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT)
        os.close(theirs)
        self._unread = ""
        self._letters = codecs.getincrementaldecoder("utf-8")()  # a read may end within one

    def until(self, word: str, seconds: float = 60) -> str:
        deadline = time.monotonic() + seconds
        while word not in self._unread:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{word!r} never came"
            try:
                self._unread += self._letters.decode(os.read(self._ours, 65536))
            except OSError:
                pytest.fail(f"it ended before {word!r}")
        read, self._unread = self._unread.split(word, 1)
        return read

    def type(self, line: str) -> None:
        os.write(self._ours, f"{line}\n".encode())

    def close(self) -> int:
        code = self.process.wait(60)
        os.close(self._ours)
        return code


def words_of(page: str) -> str:
    """The 33 words of a card as it is printed."""
    found = {int(number): word for number, word in re.findall(r"(\d{1,2}) ([a-z]{4,8})\b", page.split("vault.", 1)[1])}
    assert sorted(found) == list(range(1, 34))
    return " ".join(found[number] for number in sorted(found))


@pytest.mark.timeout(180)
def test_a_person_is_walked_through_it(softhsm: KmsSettings, config: Path) -> None:
    terminal = Terminal(
        [sys.executable, "-c", "from web.cli import main; main()", "--config", str(config), *asked_for(softhsm)]
    )
    terminal.until("Choose")
    terminal.type("1")
    terminal.until("How many cards")
    terminal.type("3")
    terminal.until("open the vault [")
    terminal.type("2")
    cards = []
    for _ in range(3):
        cards.append(words_of(terminal.until("press Enter")))
        terminal.type("")
    terminal.until("Card 1")
    terminal.type(cards[0])
    terminal.until("Card 2")
    terminal.type(cards[0])  # the same card twice
    terminal.until("Card 3")
    terminal.type("")
    terminal.until("Try again")
    for number in (2, 0):
        terminal.until("Card")
        terminal.type(cards[number])
    terminal.until("Card 3")
    terminal.type("")
    terminal.until("These cards open all 3 keys")
    terminal.until("The vault is ready")
    assert terminal.close() == 0
    assert recovery_line(config)["ok"] is True


# --- rotations ---


@pytest.fixture
def settings(softhsm: KmsSettings, config: Path) -> VaultSettings:
    founding.write_settings(config, softhsm, practice="Cabinet", bind="127.0.0.1:1")
    found = load(config, {})
    founding.found(found, now_micros())
    return found


def test_every_use_is_rotated_and_the_log_still_proves_itself(settings: VaultSettings) -> None:
    config = settings.path
    with closing(open_vault(settings)) as vault:
        anne = anne_of(vault)
        admitted = admit(vault, anne, 2)
    mac = said(run(config, "keys", "rotate", "mac", "--json"))
    assert (mac["ok"], mac["active"]["number"], mac["patients"], mac["left"]) == (True, 2, 2, {})
    told = run(config, "keys", "reindex")
    assert "nothing stands under another MAC key" in told.output
    audit = said(run(config, "keys", "rotate", "audit", "--json"))
    assert audit["active"]["number"] == 2
    kek = said(run(config, "keys", "rotate", "kek", "--json"))
    assert (kek["rewrapped"], kek["left"]) == (5, {})
    assert said(run(config, "keys", "check", "--json"))["ok"]
    assert said(run(config, "audit", "verify", "--json"))["ok"]
    states = {(key["use"], key["number"]): key["state"] for key in said(run(config, "keys", "list", "--json"))["keys"]}
    for use in ("kek", "mac", "audit"):
        assert (states[use, 1], states[use, 2]) == ("decrypt_only", "active")
    with closing(open_vault(settings)) as vault:
        assert lost(vault, anne, admitted) == []


def test_beside_a_key_process_a_key_is_renewed_there_and_re_indexed_here(host: Host) -> None:
    settings, config = host.settings, host.settings.path
    with closing(open_vault(settings)) as vault:
        anne = anne_of(vault)
        admitted = admit(vault, anne, 2)
    with pytest.raises(BadSettings, match="reindex"):
        run(config, "keys", "rotate", "mac")
    assert said(run(host.keys, "keys", "renew", "mac", "--json"))["keys"][0]["number"] == 2
    time.sleep(2.1)  # what another process made active is noticed within two seconds
    with closing(open_vault(settings)) as vault:
        assert lost(vault, anne, admitted) == []
    done = said(run(config, "keys", "reindex", "--json"))
    assert (done["ok"], done["mac"], done["patients"], done["left"]) == (True, 2, 2, {})
    with closing(open_vault(settings)) as vault:
        assert lost(vault, anne, admitted) == []
    with pytest.raises(BadSettings, match="no directory of SoftHSM2"):
        run(config, "keys", "token-copy", str(config.parent / "usb"))
    voucher = host.renew("audit")["voucher"]
    cards = said(run(config, "keys", "recovery-create", "--yes", "--json"))["cards"]
    host.renew("kek")  # where the token is lost: after its settings name an empty one
    moved = said(run(config, "keys", "migrate", "--yes", "--json", typed="\n".join(cards[:2]) + "\n"))
    assert (moved["ok"], moved["master"], moved["moved"]) == (True, 2, 5)
    with pytest.raises(Conflict, match="vouched"):
        run(config, "keys", "hand-over", "audit", "2", voucher[:-8] + voucher[:8])
    assert said(run(config, "keys", "hand-over", "audit", "2", voucher, "--json"))["ok"]
    assert said(run(config, "audit", "verify", "--json"))["ok"]
    with closing(open_vault(settings)) as vault:
        assert lost(vault, anne, admitted) == []
