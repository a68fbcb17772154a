"""Pages with something open or filled in that a mere visit does not show: accessible too, in both schemes and widths."""

from __future__ import annotations

import re
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import update

from tests.journeys.conftest import ON_BOTH_COLUMNS, Browsing, SignedIn
from tests.journeys.site import Site
from tests.journeys.test_every_page import LOOKS, findings, judge
from tests.journeys.visitor import ready
from vault.demo import cast
from vault.settings import load
from vault.storage.db import Database
from vault.storage.schema import people

pytestmark = [pytest.mark.browser, pytest.mark.hsm, pytest.mark.xdist_group("journeys"), pytest.mark.timeout(240)]
IDS = ["light-desk", "dark-telephone"]
YEAR_US = 365 * 86_400 * 1_000_000


@pytest.mark.parametrize(("scheme", "viewport"), LOOKS, ids=IDS)
def test_a_password_being_chosen(at_desk: Browsing, scheme: str, viewport: dict[str, int]) -> None:
    with at_desk(cast.RECEPTION.username, scheme=scheme, viewport=viewport) as visitor:
        page = visitor.go("/invitation")
        page.get_by_label("Nouveau mot de passe").press_sequentially("azerty123")
        expect(page.locator("[data-said]")).not_to_be_empty()
        assert findings(page) == []
        page.get_by_role("button", name="Proposer une phrase").click()
        expect(page.locator("[data-said]")).to_have_text("Très solide")
        assert findings(page) == []


def files_that_wait(page: Page, site: Site) -> None:
    """Somebody opened a file in an emergency, and an account is due for its yearly review, another about to close."""
    page.goto(f"{site.url}/patients")
    ready(page)
    page.keyboard.press("/")
    identity = next(part.identity for part in cast.PATIENTS[1:] if part.doctor is not cast.OUTSIDE)
    page.get_by_role("searchbox").first.fill(f"{identity.birth_name} {identity.given_names[0]}")
    page.keyboard.press("Enter")
    page.locator("main").get_by_role("link", name=re.compile(identity.birth_name, re.IGNORECASE)).first.click()
    page.get_by_role("link", name="Accès en urgence (bris de glace)").click()
    page.get_by_label("Motif de l’accès").fill("Malaise au cabinet, médecin traitant absent")
    page.get_by_role("button", name="Ouvrir le dossier").click()
    expect(page.get_by_role("button", name="Fermer l’accès")).to_be_visible()
    assert judge(page, "the banner of an emergency") == []
    page.get_by_role("button", name="Fermer l’accès").click()


def age_an_account(site: Site) -> None:
    """As if years had passed for one person; the site's own clock can't be moved."""
    settings = load(site.demo.config, site.settings).database
    columns = people.c
    aged = {columns.created_at: columns.created_at - 2 * YEAR_US, columns.warned_at: columns.created_at}
    statement = update(people).values(aged).where(columns.username == cast.DPO.username)
    with closing(Database(settings.url, settings.password_file)) as database:
        database.write(lambda connection: connection.execute(statement).rowcount)


@ON_BOTH_COLUMNS
def test_what_waits_for_an_owner(signed_in: SignedIn, site: Site) -> None:
    with signed_in(cast.OUTSIDE.username) as outside:
        files_that_wait(outside.page, site)
    age_an_account(site)
    wrong = []
    for scheme, viewport in LOOKS:
        with signed_in(cast.OWNER.username, scheme=scheme, viewport=viewport) as owner:
            page = owner.go("/emergencies")
            expect(page.get_by_role("button", name="Justifié", exact=True)).to_be_visible()
            wrong += judge(page, "/emergencies")
            page = owner.go("/people")
            expect(page.get_by_role("heading", name="Revue annuelle des accès")).to_be_visible()
            expect(page.get_by_role("heading", name="Comptes inutilisés ou fermés")).to_be_visible()
            wrong += judge(page, "/people")
    assert wrong == []
    with signed_in(cast.OWNER.username) as owner:
        owner.go("/emergencies").get_by_role("button", name="Justifié", exact=True).first.click()
        expect(owner.page.get_by_role("heading", name="Rien à contrôler")).to_be_visible()
