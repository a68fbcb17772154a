"""What the access log is asked, filter by filter: a word that does not exist is named, and nothing is shown over it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.conftest import Clock
from tests.web.conftest import Practice, open_practice

ODD = "f" * 32
NO_DATE, LATE, NO_VALUE, NO_ID = "n’existe pas", "avant le début", "Cette valeur n’existe pas", "copiez les 32 caractères"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Practice]:
    made = open_practice(tmp_path_factory.mktemp("asked"), Clock(), staff=("claire", "nadia"))
    made.patient("claire", "Demandée")
    yield made
    made.vault.close()


WRONG = [
    ("since=hier", "since", NO_DATE),
    ("since=2026-02-30", "since", NO_DATE),
    ("since=20260301", "since", NO_DATE),
    ("until=2026-W10-1", "until", NO_DATE),
    ("since=2026-03-10&until=2026-03-09", "until", LATE),
    ("since=2026-03-10&until=2025-01-01", "until", LATE),
    ("action=document.views", "action", NO_VALUE),
    ("actor=claire", "actor", NO_ID),
    ("detector=none", "detector", NO_VALUE),
    ("reference=Dupont", "reference", NO_ID),
    ("document=1", "document", NO_ID),
    ("outcome=maybe", "", NO_VALUE),
    ("question=everything", "", NO_VALUE),
    ("before=x", "", NO_VALUE),
    ("before=-1", "", NO_VALUE),
]
"""The query, the field beside which it is said (none where it has none), and the words."""


@pytest.mark.parametrize(("query", "field", "words"), WRONG, ids=[query for query, _, _ in WRONG])
def test_a_wrong_filter_is_named_and_nothing_is_shown(house: Practice, query: str, field: str, words: str) -> None:
    browser, told = house.browser("nadia"), len(house.events("audit.search"))
    answer = browser.client.get(f"/audit?{query}")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert answer.mimetype == "text/html"
    assert re.search(rf'role="alert".*?Rien n’a été cherché.*?{words}', page, re.DOTALL)
    assert (f'id="{field}-error"' in page) == bool(field)
    for shown in ("data-event", "Aucun événement", "Exporter le journal", "Mesurer"):
        assert shown not in page
    assert len(house.events("audit.search")) == told
    form = {"csrf_token": browser.csrf("/account"), "reason": "une raison assez longue", "format": "csv"}
    for act in ("names", "export", "report"):
        if not query.startswith("before"):
            assert browser.client.post(f"/audit/{act}?{query}", data=form).status_code == 422, act
    assert browser.client.post("/audit/export", data={**form, "format": "pdf"}).status_code == 422
    assert house.events("audit.export") == []


def test_what_is_right_goes_on(house: Practice) -> None:
    client = house.browser("nadia").client
    for query in (
        "",
        "since=2026-01-01&until=2026-01-01",
        "action=document.view",
        "before=3",
        "outcome=denied",
        "question=log",
    ):
        assert client.get(f"/audit?{query}").status_code == 200, query
    page = client.get(f"/audit?actor={ODD}").get_data(as_text=True)
    assert f'<option value="{ODD}" selected>' in page, "the field says whom the answer is about"
    assert "Aucun événement" in page
    own = house.browser("claire").client.get(f"/audit?actor={ODD}")
    assert own.status_code == 422
    assert "vos propres accès" in own.get_data(as_text=True)


ASKED: list[tuple[dict[str, object], str, str]] = [
    ({"since": "20260301"}, "since", "shape"),
    ({"until": "2026-W10-1"}, "until", "shape"),
    ({"since": "2026-02-30"}, "since", "impossible"),
    ({"since": "2026-03-10", "until": "2026-03-09"}, "until", "before_since"),
    ({"actions": ["document.view", "document.views"]}, "actions", "unknown_value"),
    ({"outcomes": ["maybe"]}, "outcomes", "unknown_value"),
    ({"detector": "none"}, "detector", "unknown_value"),
    ({"question": "log"}, "question", "unknown_field"),
    ({"actor": "Dupont"}, "actor", "not_an_id"),
    ({"patient": "Dupont"}, "patient", "not_an_id"),
    ({"reference": "Dupont"}, "reference", "not_an_id"),
    ({"document": "Dupont"}, "document", "not_an_id"),
    ({"person": "Dupont"}, "person", "not_an_id"),
    ({"patient": ODD, "reference": ODD}, "reference", "twice"),
    ({"before": -1}, "before", "out_of_range"),
]


def test_programs_are_told_the_field(house: Practice) -> None:
    program = house.program("nadia")
    for asked, field, reason in ASKED:
        answer = program.ask("POST", "/audit/search", json=asked)
        problem = answer.get_json()
        assert (answer.status_code, problem["code"], problem.get("field"), problem.get("reason")) == (
            422, "invalid", field, reason,
        ), asked  # fmt: skip
        if "before" not in asked:
            export = program.ask("POST", "/audit/export", json={"format": "csv", "filters": asked})
            assert (export.status_code, export.get_json()["field"]) == (422, field), asked
    assert program.ask("POST", "/audit/search", json={"actor": ODD}).get_json()["events"] == []
