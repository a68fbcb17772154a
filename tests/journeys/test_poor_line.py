"""Reception on a poor line: files go on by themselves after each cut, arrive whole, and are filed once."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.journeys.conftest import ON_BOTH_COLUMNS, Column
from tests.journeys.papers import bring, scan, unheard_of
from tests.journeys.poor_line import Line, poor_line
from tests.journeys.site import Site
from tests.journeys.visitor import Visitor, browsing, ready
from vault.settings import load
from vault.storage.stores import open_blobs

pytestmark = [pytest.mark.browser, pytest.mark.hsm, pytest.mark.xdist_group("journeys"), ON_BOTH_COLUMNS]

OnLine = Callable[..., AbstractContextManager[tuple[Visitor, Line]]]
MIB = 1024 * 1024


@pytest.fixture
def on_poor_line(browser: Browser, column: Column) -> OnLine:
    """``with on_poor_line([("up", 1_000_000)]) as (visitor, line)``: reception, signed in."""

    @contextmanager
    def enter(plan: list[tuple[str, int]]) -> Iterator[tuple[Visitor, Line]]:
        name, site = "sophie.garnier", column.site
        with poor_line(site.port, []) as line:
            there = dataclasses.replace(site, port=line.port)
            with browsing(browser, there, column.telephones, name, storage_state=column.door(name)) as visitor:
                column.let_in(visitor)
                line.plan = plan
                yield visitor, line
                visitor.complaints[:] = [text for text in visitor.complaints if "Failed to load resource" not in text]

    return enter


def new_patient(visitor: Visitor) -> str:
    page = visitor.page
    visitor.go("/patients/new")
    page.get_by_label("Nom de naissance").fill(unheard_of("Coupure"))
    page.get_by_label("Prénoms").fill("Zoé")
    page.get_by_label("Date de naissance").fill("12/03/1980")
    page.get_by_role("radio", name="Féminin").check()
    page.get_by_role("button", name="Créer le patient").click()
    page.wait_for_url(re.compile(r"/patients/[0-9a-f]{32}"))
    return ready(page).url


def padded(size: int) -> bytes:
    """A scan of about ``size`` bytes."""
    content = scan(unheard_of("Ligne"), pages=1)
    return content + (b"\n%" + b"." * 98) * ((size - len(content)) // 100) + b"\n%%EOF"


PLANS: dict[str, tuple[int, list[tuple[str, int]], int]] = {
    "a large one, cut twice": (12 * MIB, [("up", 6 * MIB), ("up", 3 * MIB)], 1),
    "a large one whose answer is lost": (6 * MIB, [("answer", 5 * MIB)], 1),
    "a small one, cut at half": (2 * MIB, [("up", MIB)], 0),
}
"""By name: size, plan, from which byte on it went on at the end, at least."""


@pytest.mark.parametrize("name", PLANS)
def test_a_file_arrives_by_itself_and_once(on_poor_line: OnLine, tmp_path: Path, name: str) -> None:
    size, plan, went_on_at = PLANS[name]
    content = padded(size)
    with on_poor_line([]) as (visitor, line):
        page, address = visitor.page, new_patient(visitor)
        line.plan = list(plan)
        page.get_by_label("Type de document").select_option("11502-2")
        page.locator("input[type=file]").set_input_files(bring(tmp_path / "luggage", "scan.pdf", content))
        page.wait_for_url(re.compile("done=document-filed"), timeout=60_000)
        assert line.cuts == [what for what, _ in plan]
        assert max(line.offsets, default=0) >= went_on_at
        expect(page.get_by_text(hashlib.sha256(content).hexdigest())).to_be_visible()
        visitor.go(address.removeprefix(visitor.site.url))
        expect(page.get_by_role("link").filter(has_text="scan.pdf")).to_have_count(1)


def test_a_small_file_whose_answer_is_lost_is_filed_once(on_poor_line: OnLine, tmp_path: Path) -> None:
    """The browser itself may have sent it again: either way the page says that the document is there."""
    content = padded(MIB)
    with on_poor_line([]) as (visitor, line):
        page, address = visitor.page, new_patient(visitor)
        line.plan = [("answer", MIB // 2)]
        page.get_by_label("Type de document").select_option("11502-2")
        page.locator("input[type=file]").set_input_files(bring(tmp_path / "luggage", "scan.pdf", content))
        present = page.get_by_text("Déjà dans ce dossier").first
        filed = page.get_by_text(hashlib.sha256(content).hexdigest()).first
        expect(present.or_(filed).first).to_be_visible(timeout=60_000)
        assert line.cuts == ["answer"]
        visitor.go(address.removeprefix(visitor.site.url))
        expect(page.get_by_role("link").filter(has_text="scan.pdf")).to_have_count(1)


def test_what_is_cancelled_on_the_way_leaves_nothing(on_poor_line: OnLine, site: Site, tmp_path: Path) -> None:
    """Cut, waiting for the line, then given up by hand."""
    with on_poor_line([]) as (visitor, line):
        page, address = visitor.page, new_patient(visitor)
        line.plan = [("up", 2 * MIB), *[("up", 1)] * 400]  # from then on nothing gets through
        page.locator("input[type=file]").set_input_files(bring(tmp_path / "luggage", "scan.pdf", padded(12 * MIB)))
        expect(page.get_by_text(re.compile("Liaison coupée à"))).to_be_visible(timeout=60_000)
        page.get_by_role("button", name="Annuler").first.click()
        expect(page.get_by_text("Annulé").first).to_be_visible()
        line.plan = []
        visitor.go(address.removeprefix(visitor.site.url))
        expect(page.get_by_role("link").filter(has_text="scan.pdf")).to_have_count(0)
        store, until = open_blobs(load(site.demo.config, site.settings).blobs), time.monotonic() + 20
        while any(store.leftovers()) and time.monotonic() < until:
            page.wait_for_timeout(50)
        assert list(store.leftovers()) == []
