"""Every route says what it logs and who may come; nothing is reachable half-way; the API's description is true."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from werkzeug.routing import Rule

from tests.web.conftest import OFFICE, PASSWORD, Practice
from web.routes import declaration

ID = "0" * 32


def rules(practice: Practice) -> list[Rule]:
    return list(practice.app.url_map.iter_rules())


def path_of(practice: Practice, rule: Rule) -> str:
    values = {name: 1 if name == "number" else ID for name in rule.arguments}
    with practice.app.test_request_context():
        return str(practice.app.url_map.bind("localhost").build(rule.endpoint, values))


def test_every_route_declares_its_event_or_why_it_has_none(practice: Practice) -> None:
    silent = []
    for rule in rules(practice):
        facts = declaration(practice.app.view_functions[rule.endpoint])
        if bool(facts.actions) == bool(facts.reason):
            silent.append(rule.endpoint)
    assert silent == []


def test_what_changes_something_is_not_a_get(practice: Practice) -> None:
    reading = {"view", "list", "preview", "download", "search", "verify", "print", "export"}
    for rule in rules(practice):
        facts = declaration(practice.app.view_functions[rule.endpoint])
        if "GET" in (rule.methods or ()):
            changing = [str(action) for action in facts.actions if str(action).partition(".")[2] not in reading]
            assert not changing, rule.endpoint


@pytest.mark.parametrize("stage", ["nobody", "halfway", "forged"])
def test_nothing_but_the_way_in_answers_before_the_second_factor(practice: Practice, stage: str) -> None:
    client = practice.app.test_client()
    if stage == "halfway":
        token = practice.vault.people.sign_in.password("claire", PASSWORD, OFFICE).token
        client.set_cookie("coffre-halfway", token)
        client.set_cookie("coffre", token)
    if stage == "forged":
        client.set_cookie("coffre", "x" * 43)
        client.set_cookie("remember_token", "1|forged")
        client.set_cookie("session", "forged")
    for rule in rules(practice):
        view = practice.app.view_functions[rule.endpoint]
        if declaration(view).public:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            answer = client.open(path_of(practice, rule), method=method, headers={"X-CSRF-Token": "x"})
            expected = 303 if method == "GET" and not rule.rule.startswith("/api/") else 401
            assert answer.status_code == expected, (rule.endpoint, method, answer.status_code)
            if expected == 303:
                assert answer.headers["Location"].startswith("/sign-in")


def test_public_routes_say_why(practice: Practice) -> None:
    public = {rule.endpoint for rule in rules(practice) if declaration(practice.app.view_functions[rule.endpoint]).public}
    assert {"signin.password", "signin.check_code", "api.sessions.create", "pages.asset"} <= public
    assert not any(endpoint.startswith(("patients.", "documents.", "audit.", "people.")) for endpoint in public)


def test_the_description_is_valid_openapi_and_true_to_the_url_map(practice: Practice) -> None:
    described = practice.app.test_client().get("/api/v1/openapi.json").get_json()
    validate(described)
    found = {(path, method) for path, methods in described["paths"].items() for method in methods}
    expected = set()
    for rule in rules(practice):
        if rule.rule.startswith("/api/v1"):
            path = rule.rule.removeprefix("/api/v1").replace("<int:number>", "{number}").replace("<", "{").replace(">", "}")
            expected |= {(path, method.lower()) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}}
    assert found == expected


def test_answers_are_what_the_description_says(practice: Practice) -> None:
    described = practice.app.test_client().get("/api/v1/openapi.json").get_json()
    program = practice.program("claire")
    patient = practice.patient("claire", "Schémas")
    filed = program.upload(patient.id)
    answers = [
        ("get", "/me", program.ask("GET", "/me")),
        ("get", "/patients/{patient}", program.ask("GET", f"/patients/{patient.id}")),
        ("post", "/patients/search", program.ask("POST", "/patients/search", json={"q": "schemas"})),
        ("post", "/documents", filed),
        ("get", "/documents", program.ask("GET", f"/documents?patient={patient.id}")),
        ("get", "/documents/{document}", program.ask("GET", f"/documents/{filed.get_json()['id']}")),
        ("get", "/documents/{document}", program.ask("GET", f"/documents/{ID}")),
        ("post", "/audit/search", program.ask("POST", "/audit/search", json={})),
    ]
    for method, path, answer in answers:
        replies = described["paths"][path][method]["responses"]
        assert str(answer.status_code) in replies, (path, answer.status_code)
        if answer.status_code < 400:
            schema = replies[str(answer.status_code)]["content"]["application/json"]["schema"]
            Draft202012Validator({**schema, "components": described["components"]}).validate(answer.get_json())
        else:
            problem = described["components"]["schemas"]["Problem"]
            Draft202012Validator(problem).validate(answer.get_json())
            assert answer.mimetype == "application/problem+json"
