"""Owns the facts that tie a person to a patient, read from the database for the policy to judge. It must not judge."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Connection, Select, String, bindparam, exists, select

from vault.model import Actor, Micros, PatientId, PersonId, Role
from vault.people.files import File, file_of
from vault.people.policy import Relation
from vault.storage.db import Database
from vault.storage.plain import Statement
from vault.storage.schema import breakglass, care_team, grants, locum_windows, objections, patients, practice, restrictions


class Mode(StrEnum):
    """How a practice shares its patients."""

    SOLO = "solo"
    """One practitioner: every patient is theirs, and their locum's."""
    PARTITIONED = "partitioned"
    """Independent practitioners side by side: a team is one doctor, others come in by a grant with an end."""
    TEAMS = "teams"
    """Each patient has a care team; the default."""


def running_window(locum: PersonId | BindParameter[Any], now: int | BindParameter[Any]) -> ColumnElement[bool]:
    """Whether a locum's window is open, to the minute."""
    return (locum_windows.c.locum == locum) & (locum_windows.c.since <= now) & (now < locum_windows.c.until)


def mode_of(connection: Connection) -> Mode:
    """The practice's mode."""
    return _mode(connection.execute(_MODE).scalar_one_or_none())


def _mode(stored: str | None) -> Mode:
    return Mode(stored) if stored is not None else Mode.TEAMS


class Facts(NamedTuple):
    """What the tables say of one person and one patient record."""

    team: bool
    window: bool
    replaces: bool
    has_grant: bool
    has_breakglass: bool
    is_objected: bool
    is_sensitive: bool
    is_named: bool
    is_merged: bool
    """The record is part of a merged file: it is judged as a whole."""


def united(parts: Mapping[PatientId, Facts], asked: PatientId, *, leave: tuple[bool, bool]) -> Facts:
    """The facts of one record of a merged file: care teams are one, and whatever closes a part closes the whole.

    An objection or a restriction on any part counts for all, and one must be named on each restricted part. A grant or an
    emergency access opens the record that it was given for; ``leave`` says whether the kept record has either since the merge:
    that one was given for the whole file.
    """
    own, everything = parts[asked], parts.values()
    return own._replace(
        team=any(part.team for part in everything),
        replaces=any(part.replaces for part in everything),
        has_grant=own.has_grant or leave[0],
        has_breakglass=own.has_breakglass or leave[1],
        is_objected=any(part.is_objected for part in everything),
        is_sensitive=any(part.is_sensitive for part in everything),
        is_named=all(part.is_named for part in everything if part.is_sensitive) and any(part.is_named for part in everything),
    )


class Relations:
    """Who treats whom, now."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def to_patient(self, connection: Connection, actor: Actor, patient: PatientId, now: Micros) -> Relation:
        """What ties ``actor`` to ``patient`` at ``now``; facts about one document are the caller's to add (``replace``)."""
        facts, mode = _facts_of(connection, actor.person, patient, now)
        if facts.is_merged:
            facts = _united(connection, actor.person, file_of(connection, patient), patient, now)
        is_locum = actor.role is Role.LOCUM
        carer = actor.role in {Role.CLINICIAN, Role.OWNER}
        solo = mode is Mode.SOLO
        return Relation(
            in_care_team=(solo and carer) or (facts.team and (not is_locum or facts.window)),
            in_locum_window=is_locum and (facts.replaces or (solo and facts.window)),
            has_grant=facts.has_grant,
            has_breakglass=facts.has_breakglass,
            is_objected=facts.is_objected,
            is_sensitive=facts.is_sensitive,
            is_named=facts.is_named,
        )


def _facts_of(connection: Connection, me: PersonId, patient: PatientId, now: Micros) -> tuple[Facts, Mode]:
    row = _FACTS.row(connection, me=me, patient=patient, now=now) or {}
    mode = _mode(row.pop("mode"))
    return Facts(**{fact: bool(holds) for fact, holds in row.items()}), mode


def _united(connection: Connection, me: PersonId, file: File, asked: PatientId, now: Micros) -> Facts:
    parts = {part: _facts_of(connection, me, part, now)[0] for part in file.parts}
    leave = (False, False)
    if asked != file.root:
        since = file.since[asked]
        found = connection.execute(_LEAVE, {"me": me, "patient": file.root, "now": now, "merged": since}).one()
        leave = (found.has_grant, found.has_breakglass)
    return united(parts, asked, leave=leave)


_MODE = select(practice.c.mode).where(practice.c.id == 1)


def _leave() -> Select[*tuple[bool, ...]]:
    """Whether somebody was given leave for a record since it became a file of several."""
    me, patient, now = bindparam("me", type_=String), bindparam("patient", type_=String), bindparam("now", type_=BigInteger)
    merged, given, broken = bindparam("merged", type_=BigInteger), grants.c, breakglass.c
    granted = (given.patient == patient) & (given.person == me) & given.revoked_at.is_(None) & (given.since >= merged)
    grant = exists().where(granted & (given.since <= now) & (now < given.until))
    glass = (broken.patient == patient) & (broken.person == me) & (broken.since >= merged)
    return select(grant.label("has_grant"), exists().where(glass & (now < broken.until)).label("has_breakglass"))


_LEAVE = _leave()


def _facts() -> Select[*tuple[Any, ...]]:
    """One statement for every fact and the practice's mode: a list of a hundred patients must not cost nine hundred."""
    me, patient, now = bindparam("me", type_=String), bindparam("patient", type_=String), bindparam("now", type_=BigInteger)
    windows, team, given, broken = locum_windows.c, care_team.c, grants.c, breakglass.c
    in_team = exists().where((team.patient == patient) & (team.person == me))
    window = exists().where(running_window(me, now))
    replaces = exists().where(running_window(me, now) & (team.patient == patient) & (team.person == windows.replaces))
    granted = (given.patient == patient) & (given.person == me) & given.revoked_at.is_(None)
    grant = exists().where(granted & (given.since <= now) & (now < given.until))
    glass = exists().where((broken.patient == patient) & (broken.person == me) & (broken.since <= now) & (now < broken.until))
    objected = exists().where((objections.c.patient == patient) & (objections.c.person == me))
    sensitive = exists().where(restrictions.c.patient == patient)
    named = exists().where((restrictions.c.patient == patient) & (restrictions.c.person == me))
    absorbed = exists().where((patients.c.id == patient) & patients.c.merged_into.is_not(None))
    merged = absorbed | exists().where(patients.c.merged_into == patient)
    return select(
        in_team.label("team"),
        window.label("window"),
        replaces.label("replaces"),
        grant.label("has_grant"),
        glass.label("has_breakglass"),
        objected.label("is_objected"),
        sensitive.label("is_sensitive"),
        named.label("is_named"),
        merged.label("is_merged"),
        _MODE.scalar_subquery().label("mode"),
    )


_FACTS = Statement(_facts())
