"""Owns the detectors: what in the log deserves somebody's eyes. Pure functions over lines; it must not know SQL or who reviews.

Break-glass has a queue of its own (vault/people): it is reviewed there, always.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from vault.audit.events import Action, Outcome
from vault.audit.lines import Line
from vault.audit.period import ZONE

MINUTE_US: Final = 60 * 1_000_000
WINDOW_US: Final = 30 * MINUTE_US
"""What a run looks at: the longest of the detectors' windows."""

_OPENED: Final = frozenset({Action.DOCUMENT_VIEW, Action.DOCUMENT_DOWNLOAD, Action.DOCUMENT_PRINT, Action.DOCUMENT_PREVIEW})
_TAKEN: Final = frozenset({Action.DOCUMENT_DOWNLOAD, Action.DOCUMENT_PRINT, Action.DOCUMENT_SEND})
_READS: Final = _OPENED | {Action.PATIENT_VIEW, Action.PATIENT_LIST, Action.PATIENT_SEARCH}
_SIGN_INS: Final = frozenset({Action.AUTH_LOGIN, Action.AUTH_TOTP})


class Detector(StrEnum):
    """What an alert is about."""

    MASS_ACCESS = "mass_access"
    MASS_DOWNLOAD = "mass_download"
    AFTER_HOURS = "after_hours"
    OUTSIDE_TEAM = "outside_team"
    RELATION = "relation"
    SENSITIVE = "sensitive"
    ACCOUNT_FAILURES = "account_failures"
    SOURCE_FAILURES = "source_failures"
    NEW_DEVICE = "new_device"
    SELF_GRANT = "self_grant"
    DORMANT = "dormant"
    DENIALS = "denials"
    INTEGRITY = "integrity"
    HEARTBEAT = "heartbeat"
    CLOCK = "clock"
    LOG = "log"
    MISFILED = "misfiled"
    """Raised with the correction itself (``vault.records.documents.refiling``): a copy was taken of what did not belong."""


_ABOUT_A_PATIENT: Final = frozenset({Detector.OUTSIDE_TEAM, Detector.RELATION, Detector.SENSITIVE, Detector.INTEGRITY})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The defaults of the design; a practice may tighten them."""

    patients: int = 30
    usual_factor: int = 3
    patients_minutes: int = 10
    downloads: int = 20
    downloads_minutes: int = 5
    failures: int = 5
    accounts: int = 10
    failures_minutes: int = 10
    device_documents: int = 10
    denials: int = 10
    denials_minutes: int = 10
    dormant_days: int = 90
    silence_minutes: int = 30
    opens_at: int = 7
    closes_at: int = 21


class History(Protocol):
    """What is usual for somebody; asked only where a threshold is near."""

    def usual_patients(self, actor: str, before: int) -> int:
        """95th percentile of the patients that this person opens in ten minutes, over 30 days."""

    def knows_device(self, actor: str, line: Line) -> bool:
        """Whether this person was seen with this browser and workstation before the line's session."""

    def seen_before(self, actor: str, at: int) -> int | None:
        """When this person last did anything before ``at``; None for never."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to look at: which detector, and the entry that set it off."""

    detector: Detector
    line: Line
    count: int = 1

    @property
    def key(self) -> tuple[str, str, str]:
        """The same matter raises one alert a day."""
        return self.detector.value, self.line.actor_ref or self.line.ip, self.patient_ref

    @property
    def patient_ref(self) -> str:
        """The patient whom it concerns; none for what is about somebody's way of working."""
        return self.line.patient_ref if self.detector in _ABOUT_A_PATIENT else ""


def detect(lines: Sequence[Line], history: History, limits: Thresholds | None = None, zone: ZoneInfo = ZONE) -> list[Alert]:
    """Every alert in a window of lines (oldest first)."""
    used = limits or Thresholds()
    taken = [line for line in lines if line.action in _TAKEN]
    denied = [line for line in lines if line.outcome is Outcome.DENIED and line.action not in _SIGN_INS]
    failed = [line for line in lines if _is_failure(line)]
    found = [
        *_single(lines, used, zone),
        *_mass_access(lines, history, used),
        *_bursts(Detector.MASS_DOWNLOAD, taken, _actor, (used.downloads, used.downloads_minutes)),
        *_bursts(Detector.DENIALS, denied, _actor, (used.denials, used.denials_minutes)),
        *_bursts(Detector.ACCOUNT_FAILURES, failed, _account, (used.failures, used.failures_minutes)),
        *_sources(lines, used),
        *_devices(lines, history, used),
        *_dormant(lines, history, used),
        *_silence(lines, used),
    ]
    return sorted(found, key=lambda alert: alert.line.position)


def _actor(line: Line) -> str:
    return line.actor_ref if line.actor_kind == "person" else ""


def _account(line: Line) -> str:
    return line.person or line.actor_ref


def _is_failure(line: Line) -> bool:
    return line.outcome in {Outcome.DENIED, Outcome.FAILED} and line.action in _SIGN_INS


def _single(lines: Iterable[Line], limits: Thresholds, zone: ZoneInfo) -> Iterator[Alert]:
    """Entries that are a matter by themselves."""
    for line in lines:
        words = set(line.relation.split())
        if "outside_team" in words and not line.is_breakglass:  # an emergency access has its own review
            yield Alert(Detector.OUTSIDE_TEAM, line)
        if words & {"self", "colleague", "same_surname"}:
            yield Alert(Detector.RELATION, line)
        if "sensitive" in words and line.action in _OPENED:
            yield Alert(Detector.SENSITIVE, line)
        if line.action is Action.ROLE_GRANT and line.actor_ref and line.actor_ref == line.person:
            yield Alert(Detector.SELF_GRANT, line)
        if line.action is Action.DOCUMENT_INTEGRITY_FAILURE:
            yield Alert(Detector.INTEGRITY, line)
        if line.action is Action.SYSTEM_CLOCK_STEP:
            yield Alert(Detector.CLOCK, line)
        if line.action in {Action.LOG_ROLLBACK_DETECTED, Action.LOG_WITNESS_CONFLICT, Action.KEY_UNWRAP_REFUSED}:
            yield Alert(Detector.LOG, line)
        if line.action in _READS and line.actor_kind == "person" and _is_closed(line.at, limits, zone):
            yield Alert(Detector.AFTER_HOURS, line)


def _is_closed(at: int, limits: Thresholds, zone: ZoneInfo) -> bool:
    moment = datetime.fromtimestamp(at // 1_000_000, UTC).astimezone(zone)
    return moment.weekday() == 6 or not limits.opens_at <= moment.hour < limits.closes_at


def _grouped(lines: Iterable[Line], key: Callable[[Line], str]) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if name := key(line):
            groups[name].append(line)
    return groups


def _bursts(detector: Detector, lines: Iterable[Line], key: Callable[[Line], str], limit: tuple[int, int]) -> Iterator[Alert]:
    """``limit``: how many lines of one key within how many minutes; the alert stands on the line that reached it."""
    least, minutes = limit
    for group in _grouped(lines, key).values():
        start = 0
        for end, line in enumerate(group):
            while line.at - group[start].at > minutes * MINUTE_US:
                start += 1
            if end - start + 1 >= least:
                yield Alert(detector, line, end - start + 1)
                break


def _mass_access(lines: Sequence[Line], history: History, limits: Thresholds) -> Iterator[Alert]:
    for actor, group in _grouped((line for line in lines if line.patient_ref), _actor).items():
        for end, line in enumerate(group):
            near = {each.patient_ref for each in group[: end + 1] if line.at - each.at <= limits.patients_minutes * MINUTE_US}
            if len(near) > limits.patients:
                if len(near) > limits.usual_factor * history.usual_patients(actor, group[0].at):
                    yield Alert(Detector.MASS_ACCESS, line, len(near))
                break


def _sources(lines: Sequence[Line], limits: Thresholds) -> Iterator[Alert]:
    """One address that tries many accounts."""
    for group in _grouped((line for line in lines if _is_failure(line)), lambda line: line.ip).values():
        for end, line in enumerate(group):
            near = {_account(each) for each in group[: end + 1] if line.at - each.at <= limits.failures_minutes * MINUTE_US}
            if len(near) >= limits.accounts:
                yield Alert(Detector.SOURCE_FAILURES, line, len(near))
                break


def _devices(lines: Sequence[Line], history: History, limits: Thresholds) -> Iterator[Alert]:
    opened = (line for line in lines if line.action in _OPENED and line.actor_kind == "person")
    for group in _grouped(opened, lambda line: f"{line.actor_ref} {line.agent} {line.workstation}").values():
        if len(group) > limits.device_documents and not history.knows_device(group[0].actor_ref, group[0]):
            yield Alert(Detector.NEW_DEVICE, group[limits.device_documents], len(group))


def _dormant(lines: Sequence[Line], history: History, limits: Thresholds) -> Iterator[Alert]:
    for actor, group in _grouped(lines, _actor).items():
        before = history.seen_before(actor, group[0].at)
        if before is not None and group[0].at - before > limits.dormant_days * 24 * 60 * MINUTE_US:
            yield Alert(Detector.DORMANT, group[0])


def _silence(lines: Sequence[Line], limits: Thresholds) -> Iterator[Alert]:
    """A log that says nothing for long and neither stopped nor started in between."""
    for before, after in pairwise(lines):
        quiet = after.at - before.at > limits.silence_minutes * MINUTE_US
        if quiet and before.action is not Action.SYSTEM_STOP and after.action is not Action.SYSTEM_START:
            yield Alert(Detector.HEARTBEAT, after)
