"""A shared workstation: changing hands in seconds, nothing of the last person by Back, nothing typed lost at the warning."""

from __future__ import annotations

import json
import re
import time

import pytest
from playwright.sync_api import Page, Route, expect

from tests.journeys.conftest import ON_BOTH_COLUMNS, Browsing, SignedIn
from tests.journeys.visitor import Telephones, Visitor, ready
from vault.demo import cast
from vault.model import Role
from vault.people.sessions import IDLE_S, WARNING_S

pytestmark = [pytest.mark.browser, pytest.mark.hsm, pytest.mark.xdist_group("journeys"), ON_BOTH_COLUMNS]

HANDOVER_S = 10
BUSY = 2
"""On a machine where signing in alone takes long, so many times as long; three seconds in all on two quiet cores."""
TYPED = "Quatremarre"


def test_a_colleague_takes_over_in_seconds_and_back_shows_nothing(at_desk: Browsing, telephones: Telephones) -> None:
    with at_desk(cast.RECEPTION.username) as visitor:
        began = time.monotonic()
        page = visitor.sign_in()
        usual = time.monotonic() - began
        visitor.go("/patients")
        name = cast.PATIENTS[0].identity.birth_name.upper()
        expect(page.get_by_text(name).first).to_be_visible()
        colleague = visitor.site.demo.account(cast.TREATING.username)
        code = telephones.code(colleague)
        began = time.monotonic()
        page.get_by_label("Mon menu").click()
        page.get_by_role("button", name="Changer d’utilisateur").click()
        expect(page.get_by_label("Identifiant")).to_be_visible()
        left_at = time.monotonic()
        page.go_back()
        expect(page.get_by_label("Identifiant")).to_be_visible()
        assert name not in page.content()
        spent_looking_back = time.monotonic() - left_at
        page.get_by_label("Identifiant").fill(colleague.username)
        page.get_by_label("Mot de passe", exact=True).fill(colleague.password)
        page.get_by_role("button", name="Continuer").click()
        page.get_by_label("Code à usage unique").wait_for()
        ready(page).get_by_label("Code à usage unique").press_sequentially(code)
        expect(page.get_by_label("Mon menu")).to_contain_text(cast.TREATING.display_name)
        assert time.monotonic() - began - spent_looking_back < max(HANDOVER_S, BUSY * usual)


def left(page: Page, seconds: int) -> None:
    """From now on the page hears that this many seconds are left, whatever it asks."""

    def answer(route: Route) -> None:
        route.fulfill(status=200, content_type="application/json", body=json.dumps({"remaining_s": seconds}))

    page.unroute("**/session")
    page.route("**/session", answer)


def warned(visitor: Visitor) -> Page:
    """Somebody who types while the last minute begins."""
    page = visitor.page
    page.clock.install()
    visitor.go("/patients/new")
    page.get_by_label("Nom de naissance").press_sequentially(TYPED)
    left(page, 50)
    page.clock.run_for((IDLE_S[Role.RECEPTION] - WARNING_S + 2) * 1000)
    expect(page.get_by_role("dialog")).to_be_visible()
    return page


def test_the_warning_loses_nothing_that_was_typed(signed_in: SignedIn) -> None:
    with signed_in(cast.RECEPTION.username) as visitor:
        page = warned(visitor)
        page.get_by_role("button", name="Rester connecté").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_label("Nom de naissance")).to_have_value(TYPED)


def test_a_workstation_left_alone_ends_on_the_lock_page(signed_in: SignedIn) -> None:
    with signed_in(cast.RECEPTION.username) as visitor:
        page = warned(visitor)
        left(page, 0)
        page.clock.run_for(61 * 1000)
        expect(page).to_have_url(re.compile(r"/locked\?next="))
        expect(page.get_by_role("heading", name="Session verrouillée")).to_be_visible()
        assert TYPED not in page.content()
