"""Owns how an identity is typed and shown: fields, statuses in words, warnings. It must not know how identities are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from flask_babel import LazyString
from flask_babel import lazy_gettext as _

from vault.birth_dates import interpreted, is_uncertain
from vault.errors import Invalid
from vault.model import Actor, Identity, IdentityStatus, Role, Sex
from vault.people.policy import Act, ever_allowed
from vault.records.patients.identity import OIDS, has_right_key, masked_ins
from web.forms import birth_date_typed

LABELS: dict[IdentityStatus, LazyString] = {
    IdentityStatus.PROVISIONAL: _("Provisional identity"),
    IdentityStatus.VALIDATED: _("Validated identity"),
    IdentityStatus.RETRIEVED: _("Retrieved identity"),
    IdentityStatus.QUALIFIED: _("Qualified identity"),
}
TONES: dict[IdentityStatus, str] = {
    IdentityStatus.PROVISIONAL: "",
    IdentityStatus.VALIDATED: "information",
    IdentityStatus.RETRIEVED: "information",
    IdentityStatus.QUALIFIED: "good",
}
MEANINGS: dict[IdentityStatus, LazyString] = {
    IdentityStatus.PROVISIONAL: _("As told: neither an identity document nor the national service confirms it."),
    IdentityStatus.VALIDATED: _("An identity document was seen."),
    IdentityStatus.RETRIEVED: _("Matricule and traits come from the national service (INSi)."),
    IdentityStatus.QUALIFIED: _("The national service gave it, and an identity document was seen."),
}


def identity_typed(typed: Mapping[str, str], today: date, before: Identity | None = None) -> Identity:
    """An identity from a form's fields. Raises Invalid naming the field.

    A matricule left empty keeps the one of ``before``: whoever may not read it must be able to correct the rest. ``ins_forget``
    drops it.
    """
    if typed.get("sex") not in set(Sex):
        raise Invalid(_("Choose one."), field="sex", reason="empty")
    if typed.get("status", IdentityStatus.PROVISIONAL) not in set(IdentityStatus):
        raise Invalid(_("Choose one."), field="status", reason="empty")
    is_lunar = typed.get("is_lunar") == "yes"
    ins, oid = typed.get("ins") or None, typed.get("ins_oid") or None
    if before is not None and ins is None and typed.get("ins_forget") != "yes":
        ins, oid = before.ins, oid or before.ins_oid
    return Identity(
        birth_name=typed.get("birth_name", ""),
        given_names=tuple(typed.get("given_names", "").replace(",", " ").split()),
        birth_date=birth_date_typed(typed.get("birth_date", ""), today, is_lunar=is_lunar),
        sex=Sex(typed["sex"]),
        used_name=typed.get("used_name") or None,
        ins=ins,
        ins_oid=oid if ins else None,
        birth_place=typed.get("birth_place") or None,
        birth_place_label=typed.get("birth_place_label") or None,
        is_lunar=is_lunar,
        status=IdentityStatus(typed.get("status", IdentityStatus.PROVISIONAL)),
    )


def as_typed(identity: Identity, reader: Actor) -> dict[str, str]:
    """The fields of a form that corrects ``identity``; the matricule is left out for whoever sees it masked."""
    year, month, dom = identity.birth_date.split("-")
    return {
        "birth_name": identity.birth_name,
        "given_names": " ".join(identity.given_names),
        "used_name": identity.used_name or "",
        "birth_date": f"{dom}/{month}/{year}",
        "is_lunar": "yes" if identity.is_lunar else "",
        "sex": identity.sex.value,
        "birth_place": identity.birth_place or "",
        "birth_place_label": identity.birth_place_label or "",
        "ins": "" if sees_masked(reader) else identity.ins or "",
        "ins_oid": identity.ins_oid or "",
        "status": identity.status.value,
    }


def sees_masked(reader: Actor) -> bool:
    """Whether somebody sees a matricule by its first and last digits only."""
    return reader.role is Role.RECEPTION


def shown_ins(identity: Identity, reader: Actor) -> str:
    """A matricule in groups, as on the card; masked for reception; empty where there is none."""
    if not identity.ins:
        return ""
    if sees_masked(reader):
        return masked_ins(identity.ins)
    ins = identity.ins
    groups = (ins[:1], ins[1:3], ins[3:5], ins[5:7], ins[7:10], ins[10:13], ins[13:])
    return "\u202f".join(group for group in groups if group)


def status_options(reader: Actor, present: IdentityStatus | None = None) -> list[tuple[str, LazyString]]:
    """The statuses that somebody may choose; the present one always stays on offer."""
    may_qualify = Act.PATIENT_QUALIFY in ever_allowed(reader.role) or present is IdentityStatus.QUALIFIED
    return [
        (status.value, LABELS[status]) for status in IdentityStatus if may_qualify or status is not IdentityStatus.QUALIFIED
    ]


def oid_options() -> list[tuple[str, str]]:
    """The registers of matricules."""
    return [(oid, f"{name} · {oid}") for oid, name in OIDS.items()]


def filters() -> dict[str, Callable[..., Any]]:
    """What templates say of an identity."""
    return {
        "identity_status": lambda identity: LABELS[identity.status],
        "identity_meaning": lambda identity: MEANINGS[identity.status],
        "identity_tone": lambda identity: TONES[identity.status],
        "is_uncertain": is_uncertain,
        "interpreted": interpreted,
        "has_wrong_key": lambda identity: bool(identity.ins) and has_right_key(identity.ins) is False,
        "ins_for": shown_ins,
        "register_name": lambda oid: OIDS.get(oid, oid),
    }


def changed_by(identity: Identity, given: Mapping[str, Any]) -> Identity:
    """``identity`` with the members that a program gave; an empty text takes a trait away."""
    values: dict[str, Any] = {name: value if value != "" else None for name, value in given.items() if value is not None}
    if "ins" in values and values["ins"] is None:
        values["ins_oid"] = None
    return replace(identity, **values)
