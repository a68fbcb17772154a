"""Owns the certificate of destruction: what it says, as text to print. Ids, dates and rule; it must not know a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from textwrap import wrap

from vault.audit.entries import Told
from vault.model import Micros, TenantId
from vault.records.disposal.rows import Disposal
from vault.records.local_time import practice_day
from vault.records.patients.retention import Policy, Rule


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was destroyed, by which rule, by whom, and until when a backup may still hold the key."""

    disposal: Disposal
    tenant: TenantId
    rule: Rule
    years: int
    source: str
    kept_until: date
    entries: tuple[Told, ...]
    backups_until: date
    """The day on which the last copy of the keyring made before is removed, where a backup is made every day."""

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What is certified, in French: a label and what it says."""
        disposal = self.disposal
        return (
            ("Élimination", disposal.id),
            ("Installation", self.tenant),
            ("Dossier", disposal.patient),
            ("Conservé jusqu’au", f"{self.kept_until:%d/%m/%Y}"),
            ("Règle", f"{self.rule} ({_RULES[self.rule].format(years=self.years)})"),
            ("Source", self.source),
            ("Proposé", _moment(disposal.proposed_at)),
            ("Proposé par", disposal.proposed_by),
            ("Approuvé", _moment(disposal.decided_at or Micros(0))),
            ("Approuvé par", str(disposal.decided_by)),
            ("Détruit", _moment(disposal.finished_at or Micros(0))),
            ("Documents (versions)", str(disposal.documents)),
            ("Octets chiffrés", str(disposal.bytes)),
        )

    def words(self) -> tuple[str, ...]:
        """What it means, in French: paragraphs."""
        gone = (
            "La clé du dossier a été effacée du trousseau, et avec elle tout ce qu’elle scellait ; les corps chiffrés ont été "
            "supprimés, et ce que le journal disait du patient n’est plus lisible. Les preuves du journal restent entières."
        )
        backups = (
            f"Dernière sauvegarde qui contienne encore la clé supprimée le {self.backups_until:%d/%m/%Y} au plus tard, si une "
            "sauvegarde est faite chaque jour."
        )
        return gone, backups

    def text(self) -> str:
        """The page to print, in French: 76 columns, a newline at the end."""
        lines = [
            "CERTIFICAT DE DESTRUCTION",
            "",
            *(f"{label:<20} {said}" for label, said in self.facts()),
            "",
            "Au journal des accès (numéro, événement) :",
            *(f"  {told.position:>10}  {told.action}  {told.id}" for told in self.entries),
        ]
        for paragraph in self.words():
            lines += ["", *wrap(paragraph, 76, break_on_hyphens=False)]
        return "\n".join(lines) + "\n"


_RULES = {
    Rule.CARE: "dernier soin + {years} ans",
    Rule.BIRTHDAY: "{years}e anniversaire",
    Rule.DEATH: "décès + {years} ans",
}


def certificate_of(
    disposal: Disposal, policy: Policy, tenant: TenantId, entries: Sequence[Told], backup_days: int
) -> Certificate:
    """The certificate of a finished disposal."""
    rule = Rule(disposal.rule or "")
    years = {Rule.CARE: policy.care_years, Rule.BIRTHDAY: policy.birthday_years, Rule.DEATH: policy.death_years}[rule]
    gone = gone_from_backups(disposal.finished_at or Micros(0), backup_days)
    kept_until = date.fromisoformat(disposal.kept_until or "")
    return Certificate(disposal, tenant, rule, years, policy.source, kept_until, tuple(entries), gone)


def gone_from_backups(destroyed_at: Micros, backup_days: int) -> date:
    """The day on which the last backup that still holds a key destroyed then is removed."""
    return practice_day(destroyed_at) + timedelta(days=backup_days)


def _moment(at: Micros) -> str:
    return f"{datetime.fromtimestamp(at / 1_000_000, UTC):%d/%m/%Y %H:%M:%S} UTC"
