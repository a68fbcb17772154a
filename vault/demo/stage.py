"""Owns the making of the demonstration: a token, a vault, people with their telephones, patients with their papers.

It must not know HTTP. Everything goes through the same doors as in a real practice: accounts set up their second factor,
reception deposits, clinicians read. A second preparation finds everything and changes nothing.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from kms.settings import KmsSettings
from vault import founding
from vault.audit.events import Action
from vault.demo import cast, phone
from vault.demo.cast import Part, Person
from vault.errors import Conflict, NotFound, NotInitialised
from vault.model import Actor, Client, Document, IdentityStatus, Role
from vault.opening import Vault, now_micros, open_vault
from vault.settings import load
from vault.storage.slots import Slots
from vault.upkeep.recovery import Recovery

SOFTHSM = Path(__file__).parents[2] / "softhsm"
MARK = ".coffre-demo"
"""A file that says: everything in this directory is throw-away, made by the demonstration."""
LABEL = "coffre-demo"
ACCOUNTS = "accounts.json"
CARDS = "recovery-cards.txt"
"""One card a line, so that a visitor may try them: coffre keys recovery-rehearse < recovery-cards.txt"""
"""Written last: where it stands, the demonstration is whole."""
DESK = Client(ip="127.0.0.1", agent="demo", workstation="demo")
DAY = 24 * 60 * 60 * 1_000_000
"""In microseconds."""
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Account:
    """How somebody of the demonstration signs in."""

    username: str
    display_name: str
    role: Role
    password: str = field(repr=False)
    totp_secret: str = field(repr=False)
    recovery_codes: tuple[str, ...] = field(repr=False)

    def code(self, at_s: float) -> str:
        """What their telephone shows."""
        return phone.code(self.totp_secret, at_s)


@dataclass(frozen=True, slots=True)
class Demo:
    """A demonstration that is ready."""

    directory: Path
    accounts: tuple[Account, ...]

    @property
    def config(self) -> Path:
        """Its settings file."""
        return self.directory / "coffre.toml"

    def account(self, username: str) -> Account:
        """Raises NotFound, naming those who exist."""
        for account in self.accounts:
            if account.username == username:
                return account
        raise NotFound(f"The demo has nobody called {username}; it has {', '.join(each.username for each in self.accounts)}.")


def find(directory: Path) -> Demo:
    """The demonstration in ``directory``. Raises NotInitialised where there is none, or only half of one."""
    try:
        rows: list[dict[str, Any]] = json.loads((directory / ACCOUNTS).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotInitialised(f"There is no demo in {directory}: run `make demo`, or `coffre demo`.") from error
    return Demo(directory, tuple(_account(row) for row in rows))


def _account(row: Mapping[str, Any]) -> Account:
    """A row of accounts.json; what people are called is known from the cast."""
    names = {person.username: person.display_name for person in cast.PEOPLE}
    return Account(
        username=row["username"],
        display_name=names.get(row["username"], row["username"]),
        role=Role(row["role"]),
        password=row["password"],
        totp_secret=row["totp_secret"],
        recovery_codes=tuple(row["recovery_codes"]),
    )


def prepare(directory: Path, *, bind: str, tell: Tell, environment: Mapping[str, str] = os.environ) -> Demo:
    """The demonstration in ``directory``, made where it is missing; what an interrupted making left is thrown away first.

    ``environment`` may override settings: another database, another store.
    Raises Conflict where the directory holds anything that is not a demonstration, and what making a vault raises.
    """
    try:
        return find(directory)
    except NotInitialised:
        _clear(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / MARK).touch(mode=0o600)
    (directory / MARK).write_text("Throw-away data of `coffre demo`: this directory may be deleted.\n", encoding="utf-8")
    tell("Making a token, keys and an empty vault")
    founding.write_settings(directory / "coffre.toml", _new_token(directory / "token"), practice=cast.PRACTICE, bind=bind)
    settings = load(directory / "coffre.toml", environment)
    founding.found(settings, now_micros())
    vault = open_vault(settings)
    try:
        tell("Making recovery cards, and trying them")
        _prepare_for_loss(vault, directory / CARDS)
        accounts = _play(vault, tell)
    finally:
        vault.close()
    _write_accounts(directory / ACCOUNTS, accounts)
    return Demo(directory, accounts)


def _prepare_for_loss(vault: Vault, path: Path) -> None:
    """Recovery cards, made and tried as a practice does. These are kept beside the data, which no practice should do."""
    slots = Slots(vault.keyring_db)
    recovery = Recovery(
        keyring=vault.keyring, slots=slots, keys=vault.keys, tenant=vault.installation.tenant, clock=vault.clock
    )
    cards = recovery.create(2, 3)
    recovery.rehearse(cards.lines[1:])
    _write_private(path, "".join(f"{line}\n" for line in cards.lines))


def _clear(directory: Path) -> None:
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not (directory / MARK).exists():
        raise Conflict(f"{directory} holds something that is not a demo; choose another place: make demo DEMO_DIR=var/other")
    shutil.rmtree(directory)


def _new_token(directory: Path) -> KmsSettings:
    """A SoftHSM2 token of its own, by the same scripts as tests and trials use."""
    if not SOFTHSM.is_dir():
        raise NotInitialised(
            "The demo needs the softhsm/ directory of Coffre's source: run it from a checkout, with `make demo`."
        )
    module = _script("install.sh").splitlines()[-1]
    _script("new-token.sh", directory, LABEL)
    return KmsSettings(Path(module), LABEL, directory / "pin", softhsm_conf=directory / "softhsm2.conf")


def _script(name: str, *arguments: Path | str) -> str:
    """What one of the scripts prints. Raises NotInitialised with its own sentence."""
    command = ["/bin/sh", SOFTHSM / name, *arguments]
    made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603  # ours
    if made.returncode:
        raise NotInitialised(f"The demo's token could not be made. {made.stderr.strip()}")
    return made.stdout.strip()


def new_password() -> str:
    """Easy to type, 57 random bits: ``Tavo-Remi-Kulo-Zane-58``."""
    words = ["".join(secrets.choice(SYLLABLES) for _ in range(2)).capitalize() for _ in range(4)]
    return "-".join([*words, str(10 + secrets.randbelow(90))])


# --- what happens in the practice before the visitor comes ----


def _play(vault: Vault, tell: Tell) -> tuple[Account, ...]:
    owner = vault.people.sessions.console_actor(Role.OWNER)
    tell("Hiring " + ", ".join(person.display_name for person in cast.PEOPLE))
    hired = [_hire(vault, owner, person) for person in cast.PEOPLE]
    actors = {account.username: actor for account, _token, actor in hired}
    now = now_micros()
    doctor, locum = actors[cast.TREATING.username].person, actors[cast.LOCUM.username].person
    vault.people.ties.set_window(owner, locum, doctor, since=now, until=now + cast.LOCUM_DAYS * DAY)
    everybody = cast.PATIENTS + cast.DOUBTFUL
    tell(f"Filing {sum(len(part.papers) for part in everybody)} documents of {len(everybody)} patients")
    for part in cast.DOUBTFUL:
        _admit(vault, part, actors)
    filed = [document for part in cast.PATIENTS for document in _admit(vault, part, actors)]
    _scan(vault, actors)
    _read_a_little(vault, actors, filed)
    for _account, token, _actor in hired:
        vault.people.sessions.end(token)
    return tuple(account for account, _token, _actor in hired)


def _hire(vault: Vault, owner: Actor, person: Person) -> tuple[Account, str, Actor]:
    """An account and its telephone. The code shown is the previous one, so that the visitor's first code is a fresh one."""
    password = new_password()
    vault.people.accounts.create(
        owner, username=person.username, display_name=person.display_name, role=person.role, password=password
    )
    door = vault.people.sign_in
    halfway = door.password(person.username, password, DESK)
    secret = door.enrolment(halfway.token).secret
    inside = door.confirm_enrolment(halfway.token, phone.code(secret, phone.present() - phone.STEP_S), DESK)
    account = Account(person.username, person.display_name, person.role, password, secret, inside.recovery_codes or ())
    return account, inside.token, inside.actor


def _admit(vault: Vault, part: Part, actors: Mapping[str, Actor]) -> list[Document]:
    from vault.demo import paper

    reception = actors[cast.RECEPTION.username]
    doctor = actors[part.doctor.username]
    creator = doctor if part.identity.status is IdentityStatus.QUALIFIED else reception
    patient = vault.patients.create(creator, part.identity, care_team=(doctor.person,), anyway=True)
    documents = []
    for form in part.papers:
        act_date = _today() - timedelta(days=form.days_ago)
        body = io.BytesIO(paper.FORMS[form.form](part.identity, act_date))
        stored = vault.documents.store(
            reception,
            patient.id,
            type=form.type,
            act_date=act_date,
            file_name=form.file_name,
            body=body,
            channel="scan",
            is_urgent=form.is_urgent,
        )
        if form.days_ago > cast.READ_AFTER_DAYS:
            vault.reading.integrate(actors[part.doctor.username], stored.id)
        documents.append(stored)
    return documents


def _today() -> date:
    return date.today()  # noqa: DTZ011  # the practice's calendar


def _scan(vault: Vault, actors: Mapping[str, Actor]) -> None:
    """This morning's post, waiting to be filed."""
    from vault.demo import paper

    known = {part.identity.birth_name: part.identity for part in cast.PATIENTS}
    for form, birth_name, file_name in cast.MORNING:
        body = io.BytesIO(paper.FORMS[form](known[birth_name], _today() - timedelta(days=1)))
        vault.inbox.deposit(actors[cast.RECEPTION.username], file_name=file_name, body=body, channel="scan")


def _read_a_little(vault: Vault, actors: Mapping[str, Actor], filed: list[Document]) -> None:
    """A morning's work, so that the access log has something to show: two documents read, one refusal."""
    for document in filed[-2:]:
        with vault.documents.open(actors[cast.TREATING.username], document.id, Action.DOCUMENT_VIEW) as opened:
            opened.read()
    try:
        vault.documents.describe(actors[cast.OUTSIDE.username], filed[-1].id)
    except NotFound:
        pass
    else:  # pragma: no cover
        raise AssertionError("a clinician outside the care team saw a document")


def _write_accounts(path: Path, accounts: tuple[Account, ...]) -> None:
    rows = [
        {
            "username": account.username,
            "password": account.password,
            "totp_secret": account.totp_secret,
            "recovery_codes": account.recovery_codes,
            "role": account.role,
        }
        for account in accounts
    ]
    _write_private(path, json.dumps(rows, ensure_ascii=False, indent=2))


def _write_private(path: Path, text: str) -> None:
    partial = path.with_suffix(".tmp")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
