"""Owns what people say about the keeping of a file, sealed under the patient's key. It must not know SQL nor who may say it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date

from kms.keys import Secret
from vault.errors import Tampered
from vault.model import Micros, PatientId, PersonId, TenantId
from vault.sealing.binding import field_context
from vault.sealing.fields import open_field, seal_field


@dataclass(frozen=True, slots=True)
class Facts:
    """What no document tells."""

    last_care_on: date | None = field(default=None, repr=False)
    died_on: date | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold ("gel juridique") as it is shown to those who may set one."""

    id: str
    since: date
    reason: str = field(repr=False)
    set_at: Micros
    set_by: PersonId
    cleared_at: Micros | None = None


def _seal(key: Secret, context: bytes, fields: dict[str, str | None]) -> bytes:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return seal_field(key, context, text.encode())


def _of_facts(tenant: TenantId, patient: PatientId) -> bytes:
    return field_context(tenant, "retention_facts", "facts", patient)


def _of_hold(tenant: TenantId, patient: PatientId, hold: str) -> bytes:
    return field_context(tenant, "legal_holds", "hold", f"{patient}/{hold}")


def seal_facts(key: Secret, tenant: TenantId, patient: PatientId, facts: Facts) -> bytes:
    """The facts as JSON, bound to the patient."""
    told = {"last_care_on": facts.last_care_on, "died_on": facts.died_on}
    fields = {name: day.isoformat() if day else None for name, day in told.items()}
    return _seal(key, _of_facts(tenant, patient), fields)


def open_facts(key: Secret, tenant: TenantId, patient: PatientId, sealed: bytes) -> Facts:
    """The facts again. Raises Tampered."""
    try:
        fields = json.loads(open_field(key, _of_facts(tenant, patient), sealed))
        return Facts(**{name: date.fromisoformat(day) if day else None for name, day in fields.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise Tampered(f"the retention facts of patient {patient} can't be read", kind="field") from error


def seal_hold(key: Secret, tenant: TenantId, patient: PatientId, hold: str, told: tuple[date, str]) -> bytes:
    """First day and reason of a hold, bound to it and to the patient."""
    return _seal(key, _of_hold(tenant, patient, hold), {"since": told[0].isoformat(), "reason": told[1]})


def open_hold(key: Secret, tenant: TenantId, patient: PatientId, hold: str, sealed: bytes) -> tuple[date, str]:
    """First day and reason. Raises Tampered."""
    try:
        fields = json.loads(open_field(key, _of_hold(tenant, patient, hold), sealed))
        return date.fromisoformat(fields["since"]), str(fields["reason"])
    except (ValueError, TypeError, KeyError) as error:
        raise Tampered(f"hold {hold} can't be read", kind="field") from error
