"""Owns what a restore drill found, as data that is signed and as a page that is printed (in French). Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vault.model import Micros
from vault.upkeep.backup_check import Checked
from vault.upkeep.manifest import moment


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What opening the restored vault gave."""

    opened: int = 0
    bytes: int = 0
    failed: tuple[str, ...] = ()
    erased: int = 0
    log_size: int = 0
    log_fault: str = ""
    error: str = ""
    is_done: bool = False

    @property
    def ok(self) -> bool:
        return self.is_done and not (self.failed or self.log_fault or self.error)


@dataclass(frozen=True, slots=True)
class Drilled:
    """How a drill ended."""

    checked: Checked
    rehearsed: Rehearsed
    at: Micros
    lost_s: float
    took_s: float
    reports: tuple[str, ...] = ()
    """Where the report was written; empty where it could not be."""

    @property
    def ok(self) -> bool:
        return self.checked.ok and self.rehearsed.ok

    @property
    def rpo_minutes(self) -> int:
        """Minutes of work that a disaster at the drill's start would have lost, rounded up."""
        return math.ceil(self.lost_s / 60)

    @property
    def rto_minutes(self) -> int:
        """Minutes from the decision to a vault that opens, verified; rounded up."""
        return math.ceil(self.took_s / 60)


def said(drilled: Drilled) -> dict[str, Any]:
    """The report as data."""
    checked, rehearsed = drilled.checked, drilled.rehearsed
    return {
        "at": drilled.at,
        "backup": checked.id,
        "ok": drilled.ok,
        "rpo_minutes": drilled.rpo_minutes,
        "rto_minutes": drilled.rto_minutes,
        "rpo_seconds": round(drilled.lost_s),
        "rto_seconds": round(drilled.took_s, 1),
        "bodies_compared": checked.bodies,
        "bytes_compared": checked.bytes,
        "findings": [{"part": each.part, "kind": each.kind.value} for each in checked.findings[:100]],
        "documents_opened": rehearsed.opened,
        "bytes_opened": rehearsed.bytes,
        "not_opened": list(rehearsed.failed[:100]),
        "erased_again": rehearsed.erased,
        "log_entries": rehearsed.log_size,
        "log_fault": rehearsed.log_fault or None,
        "error": rehearsed.error or None,
    }


def paper(drilled: Drilled, signed: str) -> str:
    """The report for the practice's binder: in French, with the signed data below."""
    checked, rehearsed = drilled.checked, drilled.rehearsed
    verdict = "RÉUSSI" if drilled.ok else "ÉCHEC : la sauvegarde ne suffirait pas aujourd'hui"
    log = f"{rehearsed.log_size} lignes, " + (f"défaut {rehearsed.log_fault}" if rehearsed.log_fault else "intact")
    lines = [
        "EXERCICE DE RESTAURATION",
        "",
        f"Date                     {moment(drilled.at).strftime('%d/%m/%Y %H:%M')} (UTC)",
        f"Sauvegarde               {checked.id}",
        f"Résultat                 {verdict}",
        "",
        f"Travail perdu (RPO)      {drilled.rpo_minutes} min",
        f"Durée de reprise (RTO)   {drilled.rto_minutes} min",
        f"Documents comparés       {checked.bodies} ({checked.bytes} octets scellés)",
        f"Documents ouverts        {rehearsed.opened} ({rehearsed.bytes} octets), empreintes comparées",
        f"Journal des accès        {log if rehearsed.is_done else 'non vérifié'}",
        f"Effacements réappliqués  {rehearsed.erased}",
    ]
    faults = [f"{each.part} : {each.kind.value}" for each in checked.findings] + list(rehearsed.failed)
    faults += [rehearsed.error] if rehearsed.error else []
    if faults:
        lines += ["", "À corriger", *(f"  {fault}" for fault in faults[:50])]
    lines += ["", "Signature du responsable : ______________________", "", "-" * 72, signed]
    return "\n".join(lines)
