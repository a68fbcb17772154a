"""Owns what people do with the access log: read, search, export, verify.

Every use case takes an Actor and leaves its own event. It must not know HTTP or the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path

from sqlalchemy import select

from vault.audit import note, offline, report, tiles
from vault.audit.alerts import name_unnamed
from vault.audit.append import Receipt
from vault.audit.checkpoint import Signed, Witnessed
from vault.audit.entries import counts
from vault.audit.events import Action, Event, Note, Outcome, Purpose, System
from vault.audit.evidence import Evidence, Kind, kind_of, request_of, request_word, single_proof
from vault.audit.export import Export, no_names
from vault.audit.formats import bundle
from vault.audit.formats.csv import Look
from vault.audit.forward import Forwarder, connect
from vault.audit.keeper import Keeper, this_run
from vault.audit.lines import Line, line_of
from vault.audit.questions import NOISE
from vault.audit.retention import Durations
from vault.audit.reviewing import Reviewing
from vault.audit.search import Extent, Filters
from vault.audit.verify import Verdict, Verification
from vault.audit.witness import ask, parse_cosigner
from vault.errors import KeysUnavailable, NotFound, Tampered, VaultError
from vault.model import Actor, Micros, Page
from vault.people.policy import Act
from vault.storage.schema import audit_entries


class Format(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    JSONL = "jsonl"
    XLSX = "xlsx"
    FHIR = "fhir"
    """FHIR R4 AuditEvent, NDJSON."""
    SYSLOG = "syslog"
    """RFC 5424."""
    BUNDLE = "bundle"
    """Evidence: everything a verifier needs but the public key."""

    @property
    def media_type(self) -> str:
        """RFC 6838 media type."""
        return _MEDIA_TYPES[self]

    @property
    def suffix(self) -> str:
        """Of the file's name."""
        return {Format.BUNDLE: "zip", Format.FHIR: "ndjson", Format.SYSLOG: "log"}.get(self, self.value)


_MEDIA_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSONL: "application/jsonl",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    Format.FHIR: "application/fhir+ndjson",
    Format.SYSLOG: "text/plain; charset=utf-8",
    Format.BUNDLE: "application/zip",
}


@dataclass(frozen=True, slots=True)
class Timeline:
    """A page of the log, newest first; ``next_before`` asks for the page after it."""

    page: Page[Line]
    next_before: int | None
    passed_over: int = 0
    """Entries about the log's own readers, left out between these; at most search.PASSED."""
    matching: int | None = None
    """How many entries there are in all, where that was asked; at most search.COUNTED."""


@dataclass(frozen=True, slots=True)
class LastVerdict:
    """The newest verification."""

    at: Micros
    size: int
    is_whole: bool
    fault: str
    """kind@index of the first fault, else empty."""


@dataclass(frozen=True, slots=True)
class ExportFile:
    """An export under way: its event is durable, its bytes are made as they are read."""

    receipt: Receipt
    file_name: str
    media_type: str
    chunks: Iterator[bytes] = field(repr=False)


class Auditing(Reviewing):
    """The auditor's use cases."""

    _keeper: Keeper | None = None

    # --- the serving process

    def serve(
        self,
        source: str,
        report: Callable[[VaultError], None],
        hourly: Callable[[], object] = lambda: None,
        *,
        is_first: bool = True,
    ) -> None:
        """Keep the log of a serving process: start event, heartbeats, checkpoints.

        ``report`` hears of trouble in the background; ``hourly`` is done beside. Not ``is_first``: another process of the same
        service looks for alerts and empties what has expired. Raises LogUnavailable.
        """
        run = this_run(source)
        if is_first:
            purge = partial(self.retention.purge, System("upkeep"), Durations())
            keeper = Keeper(self._log, self.checkpoints, run, report, detect=self.review.run, purge=purge, hourly=hourly)
        else:
            keeper = Keeper(self._log, self.checkpoints, run, report)
        keeper.start()
        self._keeper = keeper

    def close(self) -> None:
        """Write the stop and sign the last checkpoint where this process served; idempotent."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.stop()

    # --- reading

    def timeline(
        self,
        actor: Actor,
        filters: Filters,
        *,
        before: int | None = None,
        limit: int = 50,
        is_quiet: bool = False,
        is_counted: bool = False,
    ) -> Timeline:
        """The newest entries that the filters let through and the actor's role may read; reading is itself an event.

        Patients appear by their log reference. ``is_quiet`` leaves out, and counts, what the log says about its own readers;
        ``is_counted`` says how many entries there are beyond this page.
        Raises Forbidden, Invalid, LogUnavailable.
        """
        allowed = self._allowed(actor, Act.AUDIT_READ, filters)
        action = Action.AUDIT_SEARCH if filters.described() else Action.AUDIT_VIEW
        if before is None:
            self._log.record(self._event(actor, action, filters))
        without = NOISE if is_quiet else ()
        rows, more = self._search.newest(allowed, before=before, limit=limit, without=without)
        last = rows[-1].position if more else 0
        passed_over = self._search.passed_over(allowed, NOISE, last, before) if is_quiet else 0
        people = self._names.display_names()
        lines = tuple(line_of(record, people, {}) for record in self._reader.open(rows))
        matching = self._search.count(allowed, without=without) if is_counted else None
        return Timeline(Page(lines, more), last if more else None, passed_over, matching)

    def extent(self, actor: Actor, filters: Filters) -> Extent:
        """How many people, patients and documents the filters' entries are about. Raises Forbidden, Invalid, LogUnavailable."""
        allowed = self._allowed(actor, Act.AUDIT_EXPORT, filters)
        found = self._search.extent(allowed)
        self._log.record(self._event(actor, Action.AUDIT_SEARCH, allowed, changed=("extent",)))
        return found

    # --- export

    def export(
        self, actor: Actor, filters: Filters, form: Format, look: Look | None = None, *, revealing: str = ""
    ) -> ExportFile:
        """Start an export. Its event is durable before the first byte, and is in the file.

        ``revealing``: the reason for which patients are to be named; another right, another event. Evidence never names.
        Raises Forbidden, StepUpRequired, Invalid, LogUnavailable, and for evidence KeysUnavailable.
        """
        allowed = self._allowed(actor, Act.AUDIT_EXPORT, filters)
        if revealing:
            self._reveal(actor, revealing, None, filters)
        request = request_of(allowed, self._reference(allowed))
        event = self._event(actor, Action.AUDIT_EXPORT, allowed, changed=(form,))
        committed = replace(event.note, code=request_word(request), count=self._counter(allowed))
        receipt = self._log.record(replace(event, note=committed))
        if form is Format.BUNDLE:
            chunks = self._bundle(actor, allowed, request, receipt)
        else:
            with suppress(KeysUnavailable):
                self.checkpoints.make(keep=True)
            patients = self._identities.names if revealing else no_names
            chunks = self._copy(
                Export(self._log, allowed, receipt, self._names.display_names(), patients), form, look or Look()
            )
        return ExportFile(receipt, f"journal-{receipt.position}.{form.suffix}", form.media_type, chunks)

    def _copy(self, export: Export, form: Format, look: Look) -> Iterator[bytes]:
        match form:
            case Format.CSV:
                return export.csv(look)
            case Format.XLSX:
                return export.xlsx(look)
            case Format.FHIR:
                return export.fhir(self.checkpoints.origin)
            case Format.SYSLOG:
                return export.syslog()
            case Format.JSONL | Format.BUNDLE:
                return export.jsonl()

    def _bundle(self, actor: Actor, filters: Filters, request: dict[str, str | int], receipt: Receipt) -> Iterator[bytes]:
        head = self.checkpoints.make(keep=True)
        evidence = Evidence(self._log, filters, request, receipt, head)
        manifest = evidence.manifest(actor, [str(each) for each in self.checkpoints.verifiers()])
        older = [each.note for each in self.checkpoints.all() if each.checkpoint.size < head.checkpoint.size]
        return bundle.write(manifest, evidence.items, head.note, older, receipt.at)

    def _counter(self, filters: Filters) -> int | None:
        """How far the asked person's counter has come: the end of a bundle about them."""
        if kind_of(filters) is not Kind.ACTOR:
            return None
        counter = self._log.keys().blind("count", f"person {filters.actor}")
        with self._log.db.read() as connection:
            return counts(connection, [counter]).get(counter, 0)

    def sheet(self, actor: Actor, practice: str) -> report.Paper:
        """The signed head on paper, to be kept outside. Raises Forbidden, KeysUnavailable."""
        signed = self.checkpoint(actor)
        verdict = self.last_verdict()
        facts = {"Dernière vérification": "aucune"}
        if verdict is not None:
            found = "journal intact" if verdict.is_whole else f"défaut {verdict.fault}"
            facts = {"Dernière vérification": f"{report.day_of(verdict.at)}, {found} ({verdict.size} lignes)"}
        seen = self.checkpoints.witnessed()
        facts["Dernier témoin"] = f"{seen.name}, {report.day_of(seen.at)} ({seen.size} lignes)" if seen else "aucun"
        return report.sheet(signed, practice, facts)

    # --- proof

    def verify(self, actor: Actor, advance: Callable[[int], None] = lambda _: None) -> Verdict:
        """Verify the whole log, then write down that it was done. Raises Forbidden, KeysUnavailable, LogUnavailable."""
        self._allowed(actor, Act.AUDIT_VERIFY, Filters())
        name_unnamed(self._log)
        verdict = Verification(self._log, self.checkpoints, advance).run()
        outcome = Outcome.SUCCESS if verdict.is_whole else Outcome.FAILED
        code = None if verdict.first_bad is None else f"{verdict.first_bad.kind}@{verdict.first_bad.index}"
        self._log.record(Event(Action.AUDIT_VERIFY, outcome, actor, note=Note(count=verdict.size, code=code)))
        return verdict

    def last_verdict(self) -> LastVerdict | None:
        """What the newest verification found, as the log tells it; says nothing about anybody."""
        rows, _ = self._search.newest(Filters(actions=(Action.AUDIT_VERIFY,)), before=None, limit=1)
        for record in self._reader.open(rows):
            found = record.note or {}
            return LastVerdict(
                record.at, int(found.get("count", 0)), record.outcome is Outcome.SUCCESS, str(found.get("code", ""))
            )
        return None

    def checkpoint(self, actor: Actor) -> Signed:
        """The signed head of the log, to be kept somewhere else. Raises Forbidden, KeysUnavailable."""
        self._allowed(actor, Act.AUDIT_VERIFY, Filters())
        return self.checkpoints.make(keep=True)

    def trust(self) -> str:
        """The trust file of this log: its public keys, one a line. To be handed to auditors by another way than the exports."""
        return f"# {self.checkpoints.origin}\n" + "".join(f"{each}\n" for each in self.checkpoints.verifiers())

    def proof(self, actor: Actor, position: int) -> str:
        """One entry with the proof that it stands in the signed log (C2SP tlog-proof). Raises as ``export``, and NotFound."""
        self._allowed(actor, Act.AUDIT_EXPORT, Filters())
        if not 0 <= position < self.size():
            raise NotFound(f"entry {position}")
        self._log.record(Event(Action.AUDIT_EXPORT, Outcome.SUCCESS, actor, note=Note(changed=("proof",), count=position)))
        return single_proof(self._log, self.checkpoints.make(keep=True), position)

    def extends(self, actor: Actor, kept: str) -> note.Checkpoint:
        """Whether the log still extends a checkpoint that somebody kept; gives that checkpoint. The answer is an event.

        Raises Forbidden, Tampered (another key, another log, a rewritten or shortened log), KeysUnavailable, LogUnavailable.
        """
        self._allowed(actor, Act.AUDIT_VERIFY, Filters())
        asked = Event(Action.AUDIT_SEARCH, Outcome.SUCCESS, actor, note=Note(purpose=Purpose.HCOMPL, changed=("since",)))
        try:
            head = self.checkpoints.must_extend(kept)
        except Tampered as error:
            failed = replace(asked.note, code=str(error.details.get("kind", error.code)))
            self._log.record(replace(asked, outcome=Outcome.FAILED, note=failed))
            raise
        self._log.record(replace(asked, note=replace(asked.note, count=head.size)))
        return head

    def cosign(self, actor: Actor, url: str, key: str) -> str:
        """The head of the log, signed by the installation and by a witness elsewhere; kept. A disagreement is an event.

        ``key`` is the witness's verifier key. Raises Forbidden, Tampered, Invalid, KeysUnavailable, StorageUnavailable.
        """
        self._allowed(actor, Act.AUDIT_VERIFY, Filters())
        signed = self.checkpoints.make(keep=True)
        try:
            cosigned = ask(url, parse_cosigner(key), signed.note, lambda old: self.checkpoints.consistency(old, signed))
        except Tampered:
            self._log.record(Event(Action.LOG_WITNESS_CONFLICT, Outcome.FAILED, actor, note=Note(count=signed.checkpoint.size)))
            raise
        self.checkpoints.replace(signed, cosigned)
        return cosigned

    def forward(self, actor: Actor, address: tuple[str, int], state: Path, authorities: Path | None) -> int:
        """Send what is new to a syslog collector; gives how many messages. Turning it on is an entry, each run is not.

        Raises Forbidden, Invalid, StorageUnavailable, LogUnavailable.
        """
        self._allowed(actor, Act.AUDIT_EXPORT, Filters())
        forwarder = Forwarder(self._log, state)
        if not state.exists():
            self._log.record(
                Event(Action.AUDIT_EXPORT, Outcome.SUCCESS, actor, note=Note(changed=("forward",), code=address[0]))
            )
        with connect(*address, authorities) as connection:
            return forwarder.run(connection)

    def latest_checkpoint(self) -> Signed | None:
        """The last signed head, for a status line; says nothing about anybody."""
        return self.checkpoints.latest()

    def witnessed(self) -> Witnessed | None:
        """The newest head that a witness elsewhere cosigned, for a status line; says nothing about anybody."""
        return self.checkpoints.witnessed()

    def verifier(self) -> str:
        """The source of the offline verifier: one file that needs nothing else."""
        return Path(offline.__file__).read_text(encoding="utf-8")

    def size(self) -> int:
        """How many entries the log holds."""
        with self._log.db.read() as connection:
            return tiles.size_of(connection)

    def last_at(self) -> int | None:
        """When the newest entry was written (microseconds UTC), by the log's own clock."""
        newest = select(audit_entries.c.at).order_by(audit_entries.c.position.desc()).limit(1)
        with self._log.db.read() as connection:
            return connection.execute(newest).scalar_one_or_none()
