"""Owns the facts that tie a person to a patient, read from the database for the policy to judge. It must not judge."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Connection, Select, String, bindparam, exists, select

from vault.model import Actor, Micros, PatientId, PersonId, Role
from vault.people.policy import Relation
from vault.storage.db import Database
from vault.storage.schema import breakglass, care_team, grants, locum_windows, objections, practice, restrictions


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
    stored = connection.execute(_MODE).scalar_one_or_none()
    return Mode(stored) if stored is not None else Mode.TEAMS


class Relations:
    """Who treats whom, now."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def to_patient(self, connection: Connection, actor: Actor, patient: PatientId, now: Micros) -> Relation:
        """What ties ``actor`` to ``patient`` at ``now``; facts about one document are the caller's to add (``replace``)."""
        me = actor.person
        facts = connection.execute(_FACTS, {"me": me, "patient": patient, "now": now}).one()
        mode = mode_of(connection)
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


_MODE = select(practice.c.mode).where(practice.c.id == 1)


def _facts() -> Select[*tuple[bool, ...]]:
    """One statement for every fact: a list of a hundred patients must not cost eight hundred. Built once, for every request."""
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
    return select(
        in_team.label("team"),
        window.label("window"),
        replaces.label("replaces"),
        grant.label("has_grant"),
        glass.label("has_breakglass"),
        objected.label("is_objected"),
        sensitive.label("is_sensitive"),
        named.label("is_named"),
    )


_FACTS = _facts()
