"""People's own stories in a real browser: a passkey in place of the code, an emergency, somebody's first day."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from tests.journeys.conftest import ON_BOTH_COLUMNS, Browsing, SignedIn
from tests.journeys.visitor import Visitor, ready
from vault.demo import cast, phone
from vault.model import Identity

pytestmark = [pytest.mark.browser, pytest.mark.hsm, pytest.mark.xdist_group("journeys"), ON_BOTH_COLUMNS]
FIRST = "Moulin-Verre-92"
TOLD = "Un dossier a été ouvert en urgence"


def give_authenticator(page: Page) -> None:
    """A fingerprint reader that always recognises its owner (Chromium's virtual authenticator)."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasUserVerification": True, "isUserVerified": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": {**options, "automaticPresenceSimulation": True}})


@pytest.fixture
def clinician(signed_in: SignedIn) -> Iterator[Visitor]:
    with signed_in(cast.OUTSIDE.username) as visitor:
        yield visitor


def find(page: Page, identity: Identity) -> None:
    """Search for a patient by name and open the file."""
    page.keyboard.press("/")
    page.get_by_role("searchbox").first.fill(f"{identity.birth_name} {identity.given_names[0]}")
    page.keyboard.press("Enter")
    page.locator("main").get_by_role("link", name=re.compile(identity.birth_name, re.IGNORECASE)).first.click()


def leave(visitor: Visitor) -> None:
    visitor.page.get_by_label("Mon menu").click()
    visitor.page.get_by_role("button", name="Se déconnecter").first.click()


def test_a_passkey_replaces_the_code_and_steps_up(clinician: Visitor) -> None:
    page = clinician.page
    give_authenticator(page)
    clinician.go("/account")
    page.get_by_label("Nom de cette clé").fill("Lecteur du bureau")
    page.get_by_role("button", name="Ajouter une clé d’accès").click()
    expect(page.get_by_text("Lecteur du bureau")).to_be_visible()
    leave(clinician)
    clinician.go("/sign-in")
    page.get_by_label("Identifiant").fill(clinician.account.username)
    page.get_by_label("Mot de passe", exact=True).fill(clinician.account.password)
    page.get_by_role("button", name="Continuer").click()
    page.get_by_role("button", name="Utiliser une clé d’accès").click()
    expect(page.get_by_label("Mon menu")).to_be_visible()
    clinician.go("/account")
    expect(page.get_by_text("mot de passe + clé d’accès")).to_be_visible()
    clinician.go("/step-up?next=/account")
    page.get_by_role("button", name="Utiliser une clé d’accès").click()
    expect(page).to_have_url(re.compile("/account"))
    page.locator("#passkeys").get_by_role("button", name="Retirer").click()
    expect(page.locator("#passkeys").get_by_text("Lecteur du bureau")).to_have_count(0)


def test_in_an_emergency_a_clinician_gets_through_and_everybody_knows(clinician: Visitor, signed_in: SignedIn) -> None:
    page = clinician.page
    identity = cast.PATIENTS[0].identity
    with signed_in(cast.TREATING.username) as treating:
        told = treating.go("/account").get_by_text(TOLD).count()
    find(page, identity)
    expect(page.get_by_role("heading", name="Dossier à accès restreint")).to_be_visible()
    page.get_by_role("link", name="Accès en urgence (bris de glace)").click()
    page.get_by_label("Motif de l’accès").fill("Malaise en salle d’attente, médecin traitant absent")
    page.get_by_role("button", name="Ouvrir le dossier").click()
    expect(page.get_by_text("Accès en urgence jusqu’au")).to_be_visible()
    expect(page.get_by_role("complementary").get_by_role("link").first).to_be_visible()
    with signed_in(cast.TREATING.username) as treating:
        expect(treating.go("/account").get_by_text(TOLD)).to_have_count(told + 1)
    with signed_in(cast.OWNER.username) as owner:
        owner.go("/emergencies")
        expect(owner.page.get_by_text("Malaise en salle d’attente")).to_be_visible()
        owner.page.get_by_role("button", name="Justifié", exact=True).click()
        expect(owner.page.get_by_role("heading", name="Rien à contrôler")).to_be_visible()
    page.get_by_role("button", name="Fermer l’accès").click()
    expect(page.get_by_text("Accès en urgence jusqu’au")).to_have_count(0)


def test_somebody_s_first_day_from_the_invitation_to_the_first_page(at_desk: Browsing) -> None:
    with at_desk(cast.OWNER.username) as owner:
        owner.sign_in()
        owner.go("/people/new")
        owner.page.get_by_label("Nom", exact=True).fill("Dr Anne Petit")
        owner.page.get_by_label("Identifiant").fill("anne.petit")
        owner.page.get_by_label("Rôle").select_option("clinician")
        owner.page.get_by_role("button", name="Créer le compte").click()
        expect(owner.page.locator("#link")).to_contain_text("#anne.petit/")
        link = owner.page.locator("#link").inner_text()
        page = owner.page.context.browser.new_context(locale="fr-FR").new_page()  # type: ignore[union-attr]  # launched here
        page.goto(link)
        expect(page).to_have_url(re.compile("/invitation$"))  # the code leaves the address at once
        ready(page)
        page.get_by_role("button", name="Proposer une phrase").click()
        expect(page.locator("[data-phrase]")).to_have_text(re.compile(r"^([a-z]+-){6}[a-z]+$"))
        expect(page.locator("[data-said]")).to_have_text("Très solide")
        page.get_by_role("button", name="Continuer").click()
        page.get_by_text("Je ne peux pas la scanner").click()
        secret = page.locator("code.secret").inner_text().replace(" ", "")
        ready(page)
        page.get_by_label("Code à usage unique").press_sequentially(phone.code(secret, time.time()))
        expect(page.get_by_role("link", name="Je les ai")).to_be_visible()
        page.get_by_role("link", name="Je les ai").click()
        expect(page.get_by_label("Mon menu")).to_be_visible()
        page.context.close()


def test_a_locum_opens_the_replaced_doctor_s_patients_until_the_window_ends(at_desk: Browsing) -> None:
    with at_desk(cast.LOCUM.username) as locum, at_desk(cast.OWNER.username) as owner:
        locum.sign_in()
        find(locum.page, cast.PATIENTS[0].identity)
        expect(locum.page.get_by_role("complementary").get_by_role("link").first).to_be_visible()
        owner.sign_in()
        owner.go("/people")
        owner.page.locator("#locums").get_by_role("button", name="Terminer maintenant").click()
        expect(owner.page.get_by_text("Aucun remplacement n’est prévu")).to_be_visible()
        locum.page.reload()
        expect(locum.page).to_have_url(re.compile("/sign-in"))  # the session ended with the window
        assert not locum.is_inside
        now = datetime.now(ZoneInfo("Europe/Paris"))
        owner.page.get_by_label("Remplaçant", exact=True).select_option(label=cast.LOCUM.display_name)
        owner.page.get_by_label("Remplace", exact=True).select_option(label=cast.TREATING.display_name)
        owner.page.get_by_label("Du", exact=True).fill(f"{now - timedelta(minutes=2):%Y-%m-%dT%H:%M}")
        owner.page.get_by_label("Au", exact=True).fill(f"{now + timedelta(days=30):%Y-%m-%dT%H:%M}")
        owner.page.get_by_role("button", name="Prévoir").click()
        expect(owner.page.locator("#locums").get_by_role("button", name="Terminer maintenant")).to_be_visible()
        locum.sign_in()
        find(locum.page, cast.PATIENTS[0].identity)
        expect(locum.page.get_by_role("complementary").get_by_role("link").first).to_be_visible()
