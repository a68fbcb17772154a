"""Sessions: opaque, limited, and gone at once when a right changes."""

from __future__ import annotations

import ast
import base64
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.vault.people.conftest import OFFICE, House
from vault.errors import SessionEnded
from vault.model import Client, Micros, Role
from vault.people.policy import is_fresh
from vault.people.sessions import ABSOLUTE_S, IDLE_S
from vault.storage.schema import sessions


def reason(house: House, token: str) -> str:
    with pytest.raises(SessionEnded) as ended:
        house.people.sessions.actor(token, OFFICE)
    return str(ended.value.details["reason"])


def test_tokens_carry_256_bits_and_only_their_hash_is_stored(house: House) -> None:
    _, first = house.enrol()
    assert len(base64.urlsafe_b64decode(first.token + "=")) == 32
    with house.db.read() as connection:
        row = connection.execute(select(sessions)).mappings().one()
    assert len(row["id_hash"]) == 32
    assert first.token not in repr(dict(row))
    assert OFFICE.ip.encode() not in row["client_sealed"]


@pytest.mark.parametrize("token", ["", "x", "é" * 40, "A" * 1_000_000, "\x00"])
def test_nonsense_is_no_session(house: House, token: str) -> None:
    assert reason(house, token) == "unknown"
    house.people.sessions.end(token)


@pytest.mark.parametrize("role", [Role.CLINICIAN, Role.RECEPTION])
def test_idle_limit_by_role(house: House, role: Role) -> None:
    _, first = house.enrol("somebody", role)
    house.people.sessions.actor(first.token, OFFICE)
    for _ in range(3):
        house.clock.advance(seconds=IDLE_S[role] - 1)
        house.people.sessions.actor(first.token, OFFICE)
    house.clock.advance(seconds=IDLE_S[role] + 20)
    assert reason(house, first.token) == "idle"
    assert house.actions()[-1] == ("auth.session_expired", "success")
    assert reason(house, first.token) == "unknown", "what has expired is gone"


def test_reception_locks_sooner() -> None:
    assert IDLE_S[Role.RECEPTION] == 300
    assert {limit for role, limit in IDLE_S.items() if role is not Role.RECEPTION} == {600}


def test_absolute_limit_whatever_the_activity(house: House) -> None:
    _, first = house.enrol()
    for _ in range(ABSOLUTE_S // 300 - 1):
        house.clock.advance(seconds=300)
        house.people.sessions.actor(first.token, OFFICE)
    house.clock.advance(seconds=300)
    assert reason(house, first.token) == "expired"


def test_looking_at_the_time_left_is_not_activity(house: House) -> None:
    _, first = house.enrol()
    house.clock.advance(seconds=400)
    live = house.people.sessions.live(first.token, OFFICE, is_activity=False)
    assert live.idle_at - house.clock.now < 200 * 1_000_000
    house.clock.advance(seconds=250)
    assert reason(house, first.token) == "idle"


def test_activity_costs_few_writes(house: House) -> None:
    _, first = house.enrol()
    house.people.sessions.actor(first.token, OFFICE)
    with house.db.read() as connection:
        before = connection.execute(select(sessions.c.seen_at)).scalar_one()
    house.clock.advance(seconds=10)
    house.people.sessions.actor(first.token, OFFICE)
    with house.db.read() as connection:
        assert connection.execute(select(sessions.c.seen_at)).scalar_one() == before


def test_sign_out_ends_it_and_says_so_once(house: House) -> None:
    _, first = house.enrol()
    house.people.sessions.end(first.token)
    house.people.sessions.end(first.token)
    assert reason(house, first.token) == "unknown"
    assert house.actions().count(("auth.logout", "success")) == 1


@pytest.mark.parametrize("change", ["disable", "role", "factor"])
def test_a_change_of_right_ends_every_session_at_once(house: House, change: str) -> None:
    secret, first = house.enrol()
    second = house.sign_in("lmartin", secret)
    halfway = house.people.sign_in.password("lmartin", "Cerisier-Ombre-47", OFFICE)
    accounts, console, person = house.people.accounts, house.console(), first.actor.person
    {
        "disable": lambda: accounts.disable(console, person),
        "role": lambda: accounts.change_role(console, person, Role.LOCUM),
        "factor": lambda: accounts.reset_totp(console, person),
    }[change]()
    for token in (first.token, second.token):
        assert reason(house, token) == "unknown"
    with pytest.raises(SessionEnded):
        house.people.sign_in.code(halfway.token, house.code(secret), OFFICE)


def test_own_sessions_are_listed_and_ended(house: House) -> None:
    secret, first = house.enrol()
    second = house.sign_in("lmartin", secret)
    _, other = house.enrol("jdurand")
    house.people.sessions.actor(first.token, OFFICE)
    listed = house.people.sessions.of(second.actor)
    assert [(each.is_this, each.client) for each in listed] == [(True, OFFICE), (False, OFFICE)]
    house.people.sessions.end_one(second.actor, other.actor.session)
    house.people.sessions.actor(other.token, OFFICE)  # somebody else's session is not mine to end
    assert house.people.sessions.end_others(second.actor) == 1
    assert reason(house, first.token) == "unknown"
    house.people.sessions.actor(second.token, OFFICE)


def test_the_actor_carries_the_present_client(house: House) -> None:
    _, first = house.enrol()
    elsewhere = Client(ip="198.51.100.9", agent="Safari")
    assert house.people.sessions.actor(first.token, elsewhere).client == elsewhere


def test_a_clock_set_back_does_not_freeze_a_session(house: House) -> None:
    _, first = house.enrol()
    house.clock.advance(minutes=-10)
    actor = house.people.sessions.actor(first.token, OFFICE)
    assert not is_fresh(actor, Micros(house.clock.now)), "a factor from the future is not fresh"
    house.clock.advance(seconds=IDLE_S[Role.CLINICIAN] + 20)
    assert reason(house, first.token) == "idle"


def test_sweeping_forgets_what_has_ended(house: House) -> None:
    house.enrol()
    assert house.people.sessions.sweep() == 0
    house.clock.advance(seconds=ABSOLUTE_S)
    assert house.people.sessions.sweep() == 1


def test_console_acts_are_marked(house: House) -> None:
    assert house.console().methods == ("cli",)


def test_only_sessions_makes_actors() -> None:
    root = Path(__file__).parents[3]
    makers = {
        path.relative_to(root).as_posix()
        for room in ("kms", "vault", "web")
        for path in (root / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Actor"
    }
    assert makers == {"vault/people/sessions.py"}
