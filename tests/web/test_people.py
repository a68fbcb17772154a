"""The pages of people, of one's own account and of emergencies, driven as forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Clock
from tests.web.conftest import OFFICE, PASSWORD, Browser, Practice, open_practice
from vault.errors import SessionEnded
from vault.model import Actor, Role

NEW = "Moulin-Verre-92"
CODE = re.compile(r"\b([0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4})\b")
REASON = "Malaise au cabinet, médecin traitant absent"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    """A practice with an owner and a second doctor, apart: these tests change people."""
    opened = open_practice(tmp_path_factory.mktemp("people"), Clock(), staff=("claire", "sophie", "nadia", "thomas"))
    opened.hire("olivia", Role.OWNER)
    opened.hire("durand", Role.CLINICIAN)
    yield opened
    opened.vault.close()


@dataclass
class Form:
    """A browser that keeps its own fresh session."""

    browser: Browser

    def send(self, path: str, page: str, **fields: str) -> Any:
        """Fill in a form of ``page``; the answer after redirects."""
        token = self.browser.csrf(page)
        return self.browser.client.post(path, data={"csrf_token": token, **fields}, follow_redirects=True)

    def text(self, path: str) -> str:
        return str(self.browser.client.get(path).get_data(as_text=True))


def signed_in(house: Practice, username: str) -> Form:
    """Somebody whose factor was shown just now."""
    actor = person(house, username)
    house.vault.people.own.step_up(actor, house.code(username))
    return Form(house.browser(username))


def person(house: Practice, username: str) -> Actor:
    return house.vault.people.sessions.actor(house.token(username), OFFICE)


def test_an_invitation_takes_somebody_new_from_nothing_to_their_second_factor(house: Practice) -> None:
    owner = signed_in(house, "olivia")
    made = owner.send("/people/new", "/people/new", display_name="Dr Anne Petit", username="apetit", role="clinician", email="")
    assert made.status_code == 200
    code = CODE.search(made.get_data(as_text=True))
    assert code
    assert "Dr Anne Petit" in owner.text("/people")
    visitor = Form(house.browser())
    refused = visitor.send("/invitation", "/invitation", username="apetit", code="AAAA-AAAA-AAAA", new=NEW)
    assert refused.status_code == 401
    weak = visitor.send("/invitation", "/invitation", username="apetit", code=code[1], new="azerty")
    assert weak.status_code == 422
    accepted = visitor.send("/invitation", "/invitation", username="apetit", code=code[1], new=NEW)
    assert accepted.request.path == "/sign-in/set-up"
    assert visitor.browser.client.get("/patients").status_code == 303, "no page opens before the second factor"
    again = Form(house.browser()).send("/invitation", "/invitation", username="apetit", code=code[1], new=NEW)
    assert again.status_code == 401


def test_bad_accounts_are_refused_in_the_form(house: Practice) -> None:
    owner = signed_in(house, "olivia")
    for fields in (
        {"username": "a b", "display_name": "X", "role": "clinician"},
        {"username": "claire", "display_name": "X", "role": "clinician"},
        {"username": "valid", "display_name": "", "role": "clinician"},
        {"username": "valid", "display_name": "X", "role": "emperor"},
        {"username": "valid", "display_name": "X", "role": "clinician", "email": "nowhere"},
    ):
        assert owner.send("/people/new", "/people/new", **fields).status_code == 422, fields


def test_fields_that_a_form_does_not_have_change_nothing(house: Practice) -> None:
    """Mass assignment: a technical admin's account waits for an owner, whatever the request says beside its fields."""
    admin = signed_in(house, "thomas")
    extra = {"state": "active", "password_hash": "x", "totp_confirmed_at": "1", "id": "0" * 32, "created_by": "x"}
    fields = {"username": "poste", "display_name": "Poste", "role": "owner", **extra}
    assert admin.send("/people/new", "/people/new", **fields).status_code == 200
    made = house.vault.people.accounts.named(house.vault.people.sessions.console_actor(), "poste")
    assert (made.state, made.has_password, made.is_enrolled) == ("pending", False, False)
    assert made.id != "0" * 32


@pytest.mark.parametrize("username", ["claire", "sophie", "nadia"])
def test_others_neither_see_nor_touch_people(house: Practice, username: str) -> None:
    somebody = signed_in(house, username)
    olivia = person(house, "olivia").person
    for path in ("/people", "/people/new", f"/people/{olivia}"):
        assert somebody.browser.client.get(path).status_code == 403, path
    answer = somebody.send(f"/people/{olivia}/act", "/account", act="disable")
    assert answer.status_code == 403
    assert 'href="/people"' not in somebody.text("/account")


def test_an_account_is_closed_and_opened_and_its_sessions_end(house: Practice) -> None:
    owner = signed_in(house, "olivia")
    target = person(house, "sophie").person
    page = owner.send(f"/people/{target}/act", f"/people/{target}", act="disable")
    assert page.status_code == 200
    with pytest.raises(SessionEnded):
        house.vault.people.sessions.actor(house.tokens["sophie"], OFFICE)
    assert owner.send(f"/people/{target}/act", f"/people/{target}", act="enable").status_code == 200
    assert person(house, "sophie").role is Role.RECEPTION


def test_a_departure_and_a_removal_are_the_owner_s_acts(house: Practice) -> None:
    house.hire("parti", Role.CLINICIAN)
    owner, target = signed_in(house, "olivia"), person(house, "parti").person
    place, before = f"/people/{target}", len(house.events("user.delete"))
    assert "Supprimer le compte" not in owner.text(place), "an open account is closed first"
    left = owner.send(f"{place}/act", place, act="depart").get_data(as_text=True)
    assert "Départ enregistré" in left
    assert "Suppression à partir du" in left
    assert "Comptes inutilisés ou fermés" in owner.text("/people")
    admin = signed_in(house, "thomas")
    assert "Supprimer le compte" not in admin.text(place)
    assert admin.send(f"{place}/act", place, act="remove").status_code == 403
    removed = owner.send(f"{place}/act", place, act="remove").get_data(as_text=True)
    assert "Compte supprimé" in removed
    assert "Dr Parti" in removed
    again = owner.send(f"{place}/act", place, act="enable")
    assert again.status_code == 409
    assert "définitivement" in again.get_data(as_text=True)
    assert house.events("user.delete")[before:] == ["denied", "success"]


def test_what_is_still_held_is_said_before_an_account_is_removed(house: Practice) -> None:
    house.hire("seul", Role.CLINICIAN)
    house.patient("seul", "Unique")
    owner, target = signed_in(house, "olivia"), person(house, "seul").person
    place = f"/people/{target}"
    owner.send(f"{place}/act", place, act="disable")
    assert "personne d’autre ne suit certains de ses patients" in owner.text(place)
    refused = owner.send(f"{place}/act", place, act="remove")
    assert refused.status_code == 409
    assert "encore des engagements" in refused.get_data(as_text=True)
    done = owner.send(f"{place}/act", place, act="remove", anyway="yes")
    assert "Compte supprimé" in done.get_data(as_text=True)


def test_a_reset_takes_two_people(house: Practice) -> None:
    admin, target = signed_in(house, "thomas"), person(house, "durand").person
    admin.send(f"/people/{target}/act", f"/people/{target}", act="reset-password")
    reset = house.vault.people.resets.waiting(person(house, "olivia"))[0].id
    own = admin.send(f"/people/resets/{reset}", "/people", decision="approve")
    assert own.status_code == 403
    owner = signed_in(house, "olivia")
    approved = owner.send(f"/people/resets/{reset}", "/people", decision="approve")
    code = CODE.search(approved.get_data(as_text=True))
    assert code
    visitor = Form(house.browser())
    accepted = visitor.send("/invitation", "/invitation", username="durand", code=code[1], new=PASSWORD)
    assert accepted.request.path == "/sign-in/code", "the reset replaces one proof; the telephone is still asked"


def test_a_stale_factor_leads_to_the_step_up_page_and_back(house: Practice) -> None:
    owner = signed_in(house, "olivia")
    house.clock.advance(minutes=6)
    target = person(house, "sophie").person
    page = owner.send(f"/people/{target}/act", f"/people/{target}", act="unlock", back=f"/people/{target}")
    assert page.request.path == "/step-up"
    wrong = house.wrong_code(house.secrets["olivia"])
    assert owner.send("/step-up", "/account", code=wrong, next="/people").status_code == 422
    back = owner.send("/step-up", "/account", code=house.code("olivia"), next=f"/people/{target}")
    assert back.request.path == f"/people/{target}"
    done = owner.send(f"/people/{target}/act", f"/people/{target}", act="unlock")
    assert done.request.path == f"/people/{target}"


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_the_step_up_page_leads_nowhere_else(house: Practice, target: str) -> None:
    owner = signed_in(house, "olivia")
    token = owner.browser.csrf("/account")
    form = {"csrf_token": token, "code": house.code("olivia"), "next": target}
    answer = owner.browser.client.post("/step-up", data=form)
    assert answer.headers["Location"].startswith("/account")


def test_own_account_shows_live_facts_and_changes_them(house: Practice) -> None:
    somebody = signed_in(house, "claire")
    page = somebody.text("/account")
    assert "Firefox" in page or "autre" in page or "other" in page
    wrong = somebody.send("/account/password", "/account", current="not it", new=NEW)
    assert wrong.status_code == 422
    common = somebody.send("/account/password", "/account", current=PASSWORD, new="Azerty123456!")
    assert common.status_code == 422
    codes = somebody.send("/account/recovery-codes", "/account")
    assert len(set(CODE.findall(codes.get_data(as_text=True)))) == 10
    secret = re.search(
        r'<code class="secret">([A-Z2-7 ]+)</code>', somebody.send("/account/phone", "/account").get_data(as_text=True)
    )
    assert secret
    wrong_code = house.wrong_code(secret[1].replace(" ", ""))
    refused = somebody.send("/account/phone/confirm", "/account", code=wrong_code)
    assert refused.status_code == 422


def test_a_locked_account_opens_with_a_recovery_code(house: Practice) -> None:
    signed_in(house, "nadia")
    codes = house.vault.people.own.renew_recovery_codes(person(house, "nadia"))
    visitor = Form(house.browser())
    for _ in range(5):
        visitor.send("/sign-in", "/sign-in", username="nadia", password="wrong")
    assert visitor.send("/sign-in", "/sign-in", username="nadia", password=PASSWORD).status_code == 429
    refused = visitor.send("/sign-in/locked", "/sign-in/locked", username="nadia", password=PASSWORD, code="AAAA-AAAA-AAAA")
    assert refused.status_code == 401
    entered = visitor.send("/sign-in/locked", "/sign-in/locked", username="nadia", password=PASSWORD, code=codes[0])
    assert entered.status_code == 200
    assert entered.request.path == "/audit"


def test_the_words_of_the_sentence_helper_are_public_and_plain(house: Practice) -> None:
    answer = house.app.test_client().get("/invitation/words")
    assert answer.mimetype == "text/plain"
    assert len(answer.get_data(as_text=True).split()) >= 512


def test_a_file_of_somebody_else_is_closed_and_opens_in_an_emergency(house: Practice) -> None:
    patient = house.patient("claire", "Bernard").id
    outsider = signed_in(house, "durand")
    page = outsider.text(f"/patients/{patient}")
    assert "Dr Claire" in page
    assert f"/patients/{patient}/emergency" in page
    short = outsider.send(f"/patients/{patient}/emergency", f"/patients/{patient}/emergency", reason="vite")
    assert short.status_code == 422
    opened = outsider.send(f"/patients/{patient}/emergency", f"/patients/{patient}/emergency", reason=REASON)
    assert opened.request.path == f"/patients/{patient}"
    text = opened.get_data(as_text=True)
    glass = re.search(r"/emergency/([0-9a-f]{32})/end", text)
    assert glass, "the banner stands on every page"
    assert house.events("access.breakglass")[-1] == "granted"
    auditor = signed_in(house, "nadia")
    assert REASON in auditor.text("/emergencies")
    judged = auditor.send(f"/emergencies/{glass[1]}", "/emergencies", verdict="justified")
    assert judged.status_code == 200
    assert REASON not in auditor.text("/emergencies")
    outsider.send(f"/emergency/{glass[1]}/end", "/account")
    assert f"/patients/{patient}/emergency" in outsider.text(f"/patients/{patient}")


def test_the_care_team_is_changed_from_the_file(house: Practice) -> None:
    patient = house.patient("claire", "Caron").id
    claire, durand = signed_in(house, "claire"), person(house, "durand")
    place = f"/patients/{patient}/access"
    tell = partial(claire.send, place, place)
    assert tell(act="add", person=durand.person).status_code == 200
    assert f"/patients/{patient}/emergency" not in signed_in(house, "durand").text(f"/patients/{patient}")
    assert tell(act="object", person=durand.person).status_code == 200
    assert f"/patients/{patient}/emergency" in signed_in(house, "durand").text(f"/patients/{patient}")
    assert tell(act="accept", person=durand.person).status_code == 200
    assert tell(act="remove", person=durand.person).status_code == 200
    assert tell(act="remove", person=person(house, "claire").person).status_code == 409
    assert tell(act="grant", person=durand.person, until="2020-01-01").status_code == 422
    assert tell(act="grant", person=durand.person, until="2026-10-30").status_code == 200
    assert tell(act="nonsense").status_code == 404
    assert signed_in(house, "sophie").browser.client.get(place).status_code == 403


def test_locums_and_mode_are_the_owner_s(house: Practice) -> None:
    house.hire("remi", Role.LOCUM)
    owner = signed_in(house, "olivia")
    remi, claire = person(house, "remi").person, person(house, "claire").person
    fields = {"locum": remi, "replaces": claire, "since": "2026-09-21T08:00", "until": "2026-12-31T19:00"}
    assert owner.send("/people/windows", "/people", **fields).status_code == 200
    assert owner.send("/people/windows", "/people", **{**fields, "until": "2026-09-20T08:00"}).status_code == 422
    window = re.search(r"/people/windows/([0-9a-f]{32})/end", owner.text("/people"))
    assert window
    assert owner.send(f"/people/windows/{window[1]}/end", "/people").status_code == 200
    assert owner.send("/people/mode", "/people", mode="solo").status_code == 200
    assert owner.send("/people/mode", "/people", mode="teams").status_code == 200
    assert signed_in(house, "thomas").send("/people/mode", "/people", mode="solo").status_code == 403


def test_every_refused_form_is_a_page_that_a_browser_shows(house: Practice) -> None:
    visitor, owner = Form(house.browser()), signed_in(house, "olivia")
    refusals = [
        visitor.send("/sign-in", "/sign-in", username="nobody", password="wrong"),
        visitor.send("/invitation", "/invitation", username="nobody", code="x", new=NEW),
        visitor.send("/sign-in/locked", "/sign-in/locked", username="nobody", password="x", code="x"),
        owner.send("/people/new", "/people/new", username="", display_name="", role=""),
        owner.send("/account/password", "/account", current="x", new="court"),
        owner.send("/patients/new", "/patients/new", birth_name=""),
        owner.send("/step-up", "/account", code="x"),
    ]
    for answer in refusals:
        assert answer.status_code >= 400
        assert answer.content_type == "text/html; charset=utf-8", answer.request.path


def test_once_a_year_an_owner_says_which_accounts_are_still_needed(tmp_path: Path) -> None:
    house = open_practice(tmp_path, Clock(), staff=())
    for username, role in (("olivia", Role.OWNER), ("sophie", Role.RECEPTION), ("durand", Role.CLINICIAN)):
        house.hire(username, role)
    assert "Revue annuelle" not in signed_in(house, "olivia").text("/account")
    house.clock.advance(days=366)
    owner = signed_in(house, "olivia")
    assert "3 comptes attendent votre avis" in owner.text("/account")
    assert "Revue annuelle" not in signed_in(house, "sophie").text("/account")
    sophie, durand = person(house, "sophie").person, person(house, "durand").person
    kept = owner.send(f"/people/{sophie}/act", "/people", act="confirm", place="review")
    closed = owner.send(f"/people/{durand}/act", "/people", act="disable", place="review")
    assert (kept.request.path, closed.request.path) == ("/people", "/people")
    assert "1 compte attend votre avis" in owner.text("/account")
    assert owner.text("/people").count("Toujours justifié") == 1
    house.vault.close()
