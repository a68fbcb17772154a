"""Owns the judgement of an installation: one check, one sentence, one way out. It must not change anything."""

from __future__ import annotations

import ctypes
import resource
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from kms import softhsm
from vault.errors import VaultError
from vault.model import Scan
from vault.records.documents.scanning import Scanner
from vault.storage.keyring import SqlRegistry
from vault.storage.slots import TokenCopies
from vault.upkeep.availability import ALLOWED_MINUTES, Availability, measured
from vault.upkeep.cloning import covered
from vault.upkeep.patrol import Watch
from vault.upkeep.rehearsed import Rehearsals, rehearsals

if TYPE_CHECKING:
    from kms.settings import KmsSettings
    from vault.opening import Vault
    from vault.settings import ScanSettings, VaultSettings
    from vault.storage.keyring import RecoverySlot
    from vault.storage.slots import TokenCopy

FREE_MIB_BAD = 512
"""Under this much free disk the next morning's scans may not fit."""
FREE_SHARE_CAUTION = 0.10
WAL_RESET_FIXED = (3, 51, 3)
"""SQLite's release note: two connections that write and checkpoint at once could damage the WAL before this version."""
CLOCK_STEP_S = 120
"""A clock this far behind the log's last event was set back."""
REHEARSAL_DAYS = 400
"""Recovery cards are tried once a year, with some grace."""
DAY_US = 86_400 * 1_000_000
DEMO, RESTORED = ".coffre-demo", "restored.json"
"""What marks a demonstration, and a restore that waits for its token, beside the settings."""
SURE_S = 30
"""What is not known is told from half a minute on."""
TIME_ERROR = 5
"""adjtimex(2): TIME_ERROR, the clock is not synchronised."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    id: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What ``coffre doctor`` prints."""

    checks: tuple[Check, ...]
    paths: dict[str, str]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)


def _sqlite_path(url: str) -> Path | None:
    address = make_url(url)
    return Path(address.database) if address.get_backend_name() == "sqlite" and address.database else None


def _plain(url: str) -> str:
    path = _sqlite_path(url)
    return str(path) if path else make_url(url).render_as_string(hide_password=True)


def _token_path(kms: KmsSettings) -> str:
    """SoftHSM keeps its token in a directory that its configuration names; any other token is known by its module.

    Where a key process holds the token, its socket is all that is known here.
    """
    if kms.socket is not None:
        return str(kms.socket)
    return str(softhsm.token_directory(kms) or kms.module)


def data_paths(settings: VaultSettings) -> dict[str, str]:
    """Where everything lives, for people and for backup scripts."""
    blobs = settings.blobs.url
    return {
        "config": str(settings.path),
        "database": _plain(settings.database.url),
        "keyring": _plain(settings.database.keyring_url),
        "blobs": blobs.removeprefix("file://"),
        "token": _token_path(settings.kms),
        "pin_file": "" if settings.kms.socket else str(settings.kms.pin_file),
    }


def _mode(path: Path, allowed: int) -> str | None:
    """Why ``path`` is too open, or None."""
    try:
        found = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return f"{path} can't be read: {error.strerror}"
    return f"{path} has mode {found:04o}; run: chmod {allowed:o} {path}" if found & ~allowed & 0o777 else None


def check_permissions(settings: VaultSettings) -> Check:
    """Secrets are for their owner alone."""
    wanted: list[tuple[Path, int]] = [(settings.path.parent, 0o700)]
    if settings.kms.socket is None:
        wanted.append((settings.kms.pin_file, 0o600))
    databases = (_sqlite_path(url) for url in (settings.database.url, settings.database.keyring_url))
    wanted += [(path, 0o600) for path in databases if path is not None]
    if settings.blobs.url.startswith("file://"):
        wanted.append((Path(settings.blobs.url.removeprefix("file://")), 0o700))
    wrong = [why for path, mode in wanted if (why := _mode(path, mode))]
    return Check("permissions", not wrong, "; ".join(wrong) or "only the vault's own user can read its files")


def check_sqlite(settings: VaultSettings) -> Check:
    """Which SQLite is linked, and whether its known fault can bite here."""
    version = ".".join(map(str, sqlite3.sqlite_version_info))
    if _sqlite_path(settings.database.url) is None:
        return Check("sqlite", ok=True, detail=f"not used for the main database (SQLite {version} is linked)")
    if sqlite3.sqlite_version_info >= WAL_RESET_FIXED:
        return Check("sqlite", ok=True, detail=f"SQLite {version}")
    reason = "safe here: one process at a time writes and checkpoints"
    return Check("sqlite", ok=True, detail=f"SQLite {version} is older than 3.51.3; {reason}")


def check_disk(settings: VaultSettings) -> Check:
    """Room for what comes next."""
    usage = shutil.disk_usage(settings.path.parent)
    free = usage.free // (1024 * 1024)
    enough = free >= FREE_MIB_BAD
    word = "" if usage.free / usage.total >= FREE_SHARE_CAUTION else ", under a tenth of the disk: plan more room"
    return Check("disk", enough, f"{free} MiB free of {usage.total // (1024 * 1024)} MiB{word}")


def check_clock(last_event_at: int | None, now: int) -> Check:
    """A clock set back would make the log lie; an unsynchronised one drifts away from the phones' codes."""
    if last_event_at is not None and (behind := (last_event_at - now) / 1e6) > CLOCK_STEP_S:
        return Check(
            "clock", ok=False, detail=f"this clock is {behind:.0f} s behind the log's last event; set it right, then restart"
        )
    buffer = ctypes.create_string_buffer(256)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        state = -1
    if state == TIME_ERROR:
        return Check("clock", ok=True, detail="not ahead of the log; the system does not say that it is synchronised (NTP)")
    return Check("clock", ok=True, detail="not behind the log" + (", synchronised" if state >= 0 else ""))


def _integrity(path: Path) -> str | None:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    return None if result == "ok" else str(result)


def check_database(settings: VaultSettings) -> Check:
    """SQLite's own structure check; PostgreSQL checks its pages itself."""
    for url in (settings.database.url, settings.database.keyring_url):
        path = _sqlite_path(url)
        if path is None:
            continue
        try:
            fault = _integrity(path)
        except sqlite3.Error as error:
            fault = str(error)
        if fault:
            return Check("database", ok=False, detail=f"{path}: {fault}; stop the service and restore the last backup")
    return Check("database", ok=True, detail="structure is sound")


def check_memory() -> Check:
    """Keys in memory must reach neither a core dump nor an unencrypted swap."""
    if resource.getrlimit(resource.RLIMIT_CORE)[0] != 0:
        return Check("memory", ok=False, detail="core dumps are on in this process; start Coffre by its own command")
    swaps = Path("/proc/swaps")
    areas = swaps.read_text(encoding="ascii").splitlines()[1:] if swaps.exists() else []
    if areas:
        names = ", ".join(area.split()[0] for area in areas)
        return Check("memory", ok=True, detail=f"no core dumps; swap is on ({names}): encrypt it or switch it off")
    return Check("memory", ok=True, detail="no core dumps, no swap")


def check_recovery(slot: RecoverySlot | None, copy: TokenCopy | None, keys: str, now: int) -> Check:
    """Losing the token is losing everything, unless a way back was tried within the year: cards, or a copy of the token.

    ``keys``: those of today, as ``token_copies.covers`` says them; a copy made before one of them is no way back.
    """
    ways = [way for way in (_by_cards(slot, now), _by_copy(copy, keys, now)) if way is not None]
    good = next((detail for ok, detail in ways if ok), None)
    if good is not None:
        return Check("recovery", ok=True, detail=good)
    nothing = "no way back from a lost token was made: coffre keys recovery-create, or coffre keys token-copy"
    return Check("recovery", ok=False, detail="; ".join(detail for _, detail in ways) or nothing)


def _by_cards(slot: RecoverySlot | None, now: int) -> tuple[bool, str] | None:
    if slot is None:
        return None
    if slot.rehearsed_at is None:
        return False, "the recovery cards were never tried: coffre keys recovery-rehearse"
    days = (now - slot.rehearsed_at) // DAY_US
    detail = f"{slot.needed} of {slot.shares} recovery cards, tried {days} days ago"
    return (True, detail) if days <= REHEARSAL_DAYS else (False, f"{detail}: coffre keys recovery-rehearse")


def _by_copy(copy: TokenCopy | None, keys: str, now: int) -> tuple[bool, str] | None:
    if copy is None:
        return None
    days = (now - copy.tried_at) // DAY_US
    detail = f"a copy of the token in {copy.place}, tried {days} days ago"
    missing = sorted(set(keys.split()).difference(copy.covers.split()))
    if missing:
        return False, f"{detail}, lacks {', '.join(missing)}: coffre keys token-copy"
    return (True, detail) if days <= REHEARSAL_DAYS else (False, f"{detail}: coffre keys token-copy")


def check_scanner(settings: ScanSettings, apart: int = 0) -> Check:
    """Whether the virus scanner gives its word on a probe; ``apart``: how many files are in quarantine.

    Raises ScannerUnavailable where the policy is ``refuse``.
    """
    with closing(Scanner(settings).begin()) as scanning:
        scanning.feed(b"a probe")
        result = scanning.finish()
    words = {
        Scan.OFF: "none is set up ([scan] socket): documents come in unscanned",
        Scan.CLEAN: "a probe was scanned",
        Scan.MISSED: "it does not answer: documents come in marked as not scanned",
    }
    return Check("scanner", result is not Scan.MISSED, words[result] + (f"; {apart} in quarantine" if apart else ""))


def check_documents(seen: Watch) -> Check:
    """What the patrol says of the stored documents."""
    if seen.findings:
        first = ", ".join(finding.document for finding in seen.findings[:3])
        detail = f"{len(seen.findings)} not well: {first}{' …' if len(seen.findings) > 3 else ''}; coffre documents verify"
        return Check("documents", ok=False, detail=detail)
    if not seen.days:
        detail = "nobody compares the stored bodies ([blobs] scrub_days = 0): coffre documents verify from a timer"
        return Check("documents", ok=True, detail=detail)
    if seen.is_late:
        return Check("documents", ok=False, detail=f"the bodies were not all compared within {seen.days} days: is it serving?")
    detail = f"{seen.checked} of {seen.total} bodies compared in this round of {seen.days} days"
    return Check("documents", ok=True, detail=detail + ("; the one before found all well" if seen.ended_at else ""))


def check_availability(found: Availability | None) -> Check:
    """How many minutes nobody was served, from starts, stops and heartbeats in the log: a measure, never a fault."""
    if found is None:
        return Check("availability", ok=True, detail="not measured yet: nothing has been served")
    unsure = f", up to {found.at_most_minutes} with what the log does not tell" if found.unknown_s >= SURE_S else ""
    period = f"{found.days} days" if found.days > 1 else "day"
    detail = f"down {found.down_minutes} min{unsure}, in the last {period}; 99.9 % allows {ALLOWED_MINUTES} a year"
    return Check("availability", ok=True, detail=detail)


def check_backups(seen: Rehearsals, *, is_demo: bool, is_unfinished: bool) -> Check:
    """A vault without a fresh backup, or whose restore nobody ever tried, is not well. The demonstration is let off."""
    if is_unfinished:
        return Check("backup", ok=False, detail="a restore waits for its token: run coffre backup restore once more")
    made = "no backup yet" if seen.backup_days is None else f"last backup {seen.backup_days} days ago"
    made += "" if seen.backup_days is None or seen.backup_is_whole else ", the vault itself lacked something"
    tried = "no restore was ever rehearsed" if seen.drill_days is None else f"last drill {seen.drill_days} days ago"
    tried += "" if seen.drill_days is None or seen.drill_is_good else ", and it failed"
    is_well = not (seen.is_late or seen.is_untried)
    way = "" if is_well else ": coffre backup create PLACE every night, coffre backup drill PLACE twice a year"
    return Check("backup", ok=is_demo or is_well, detail=f"{made}; {tried}{way}")


def _live_checks(vault: Vault) -> Iterator[Callable[[], Check]]:
    def token() -> Check:
        health = vault.keys.health()
        return Check("token", health.ok, health.detail)

    def blobs() -> Check:
        vault.blobs.probe()
        return Check("blobs", ok=True, detail="a sealed probe was written, read back and removed")

    def log() -> Check:
        size, mark = vault.auditing.size(), vault.auditing.checkpoints.marks.in_token()
        told = f"the token remembers {mark.size} of them" if mark else "the token keeps no mark of it, the keyring alone does"
        return Check("log", ok=True, detail=f"{size} events, {told}; run `coffre audit verify` for the proof")

    def clock() -> Check:
        return check_clock(vault.auditing.last_at(), vault.clock())

    def recovery() -> Check:
        copy, keys = TokenCopies(vault.keyring_db).newest(), covered(SqlRegistry(vault.keyring_db).records())
        return check_recovery(vault.keyring.slot(), copy, keys, vault.clock())

    def scanner() -> Check:
        return check_scanner(vault.settings.scan, vault.quarantine.total())

    def documents() -> Check:
        return check_documents(vault.patrol.watch())

    def availability() -> Check:
        return check_availability(measured(vault.db, vault.clock()))

    def backup() -> Check:
        beside = vault.settings.path.parent
        seen = rehearsals(vault.db, vault.clock())
        return check_backups(seen, is_demo=(beside / DEMO).exists(), is_unfinished=(beside / RESTORED).exists())

    yield from (availability, token, recovery, backup, blobs, documents, scanner, log, clock)


def _attempt(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except (VaultError, OSError) as error:
        return Check(name, ok=False, detail=str(error))


def examine(vault: Vault) -> Report:
    """Every check, none stopping the others."""
    settings = vault.settings
    still: list[Callable[[], Check]] = [
        lambda: check_permissions(settings),
        lambda: check_sqlite(settings),
        lambda: check_database(settings),
        lambda: check_disk(settings),
        check_memory,
    ]
    checks = [_attempt("settings", check) for check in still]
    checks += [_attempt(check.__name__, check) for check in _live_checks(vault)]
    return Report(tuple(checks), data_paths(settings))
