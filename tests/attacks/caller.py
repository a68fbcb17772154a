"""HTTP as an outsider speaks it: nothing is added, followed, corrected or hidden. Knows no vault internals."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote, urlencode

TIMEOUT_S = 60
CSRF = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')

Body = bytes | Iterable[bytes] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``headers`` has lower-case names; ``pairs`` every header as sent."""

    status: int
    pairs: list[tuple[str, str]]
    body: bytes = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.pairs}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of a problem document; a refusal under /api that has none fails here."""
        assert self.headers["content-type"].startswith("application/problem+json"), (self.status, self.pairs, self.body[:300])
        return str(self.json["code"])

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


@dataclass(slots=True)
class Caller:
    """A program, or a browser when it keeps cookies; ``token`` is sent as a bearer token."""

    port: int
    token: str | None = field(default=None, repr=False)
    cookies: dict[str, str] = field(default_factory=dict, repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    place: str = "127.0.0.1"
    """The address it calls from; any of 127.0.0.0/8."""

    def call(
        self, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None, *, timeout: float = TIMEOUT_S
    ) -> Answer:
        """One request on a connection of its own; cookies that come back are kept."""
        given: dict[str, str] = {**self.headers}
        if self.token:
            given["Authorization"] = f"Bearer {self.token}"
        if self.cookies:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given |= dict(headers or {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout, source_address=(self.place, 0))
        try:
            with suppress(BrokenPipeError):  # a refusal may come before the end of the body: it counts all the same
                connection.request(method, path, body=body, headers=given)
            response = connection.getresponse()
            answer = Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()
        self._keep(answer)
        return answer

    def _keep(self, answer: Answer) -> None:
        for name, value in answer.pairs:
            if name.lower() == "set-cookie":
                for morsel in SimpleCookie(value).values():
                    if morsel["max-age"] == "0" or not morsel.value:
                        self.cookies.pop(morsel.key, None)
                    else:
                        self.cookies[morsel.key] = morsel.value

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def post_json(self, path: str, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
        body = json.dumps(value).encode()
        return self.call("POST", path, body, {"Content-Type": "application/json", **(headers or {})})

    def post_form(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        body = urlencode(fields).encode()
        return self.call("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})})

    def csrf(self, path: str = "/sign-in") -> str:
        """The anti-forgery token that a page of ours holds."""
        page = self.get(path)
        match = CSRF.search(page.text)
        assert match is not None, (path, page.status, page.text[:500])
        return match[1]

    # --- what the API calls things

    def upload(
        self,
        patient: str,
        content: Body,
        name: str = "scan.pdf",
        kind: str = "11502-2",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """File a raw body."""
        given = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
        return self.call("POST", f"/api/v1/documents?patient={patient}&type={kind}", content, given | dict(headers or {}))

    def new_patient(self, birth_name: str, given_name: str = "Zoé", birth_date: str = "1980-03-12") -> str:
        """The id of a patient just created."""
        identity = {"birth_name": birth_name, "given_names": [given_name], "birth_date": birth_date, "sex": "F"}
        made = self.post_json("/api/v1/patients", identity)
        assert made.status == 201, (made.status, made.body)
        return str(made.json["id"])

    def documents(self, patient: str) -> list[dict[str, Any]]:
        """Every document of a patient, page after page."""
        found: list[dict[str, Any]] = []
        while True:
            before = f"&before={found[-1]['id']}" if found else ""
            listed = self.get(f"/api/v1/documents?patient={patient}{before}")
            assert listed.status == 200, listed.body
            found += listed.json["documents"]
            if not listed.json["more"]:
                return found

    def content(self, document: str) -> Answer:
        return self.get(f"/api/v1/documents/{document}/content")


def multipart(fields: Mapping[str, str], file_name: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    """A plain form with one file, as a browser sends it."""
    boundary = "b0undary"
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
    lines += [head.encode(), b"Content-Type: application/pdf\r\n\r\n", content, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(lines), {"Content-Type": f"multipart/form-data; boundary={boundary}"}
