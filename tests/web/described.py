"""A client that holds every answer of the API to what the OpenAPI document says of it; it knows no test."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from flask.testing import FlaskClient
from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.test import TestResponse

from web.api.operations import ALWAYS, Operation
from web.api.records import SCHEMAS
from web.errors import PROBLEM

API = "/api/v1"
ANYWHERE = {*ALWAYS, "method_not_allowed", "too_many_requests"}
"""Answers that need no operation to name them: the request never came to its view."""


@cache
def _validator(schema: str) -> Draft202012Validator:
    document = {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": SCHEMAS}}
    return Draft202012Validator(document, format_checker=FormatChecker())


class DescribedClient(FlaskClient):
    """Flask's test client; an answer that its description does not allow fails the test."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        """Send a request and hold its answer to the description."""
        response = super().open(*args, **kwargs)
        path, method = response.request.path, response.request.method
        if path.startswith(API) and method in {"GET", "PUT", "POST", "DELETE", "PATCH"}:
            self._hold(response, path, method)
        return response

    def _hold(self, response: TestResponse, path: str, method: str) -> None:
        adapter = self.application.url_map.bind("localhost")
        if not adapter.test(path, method):
            return
        endpoint, _values = adapter.match(path, method)
        view: Any = self.application.view_functions[endpoint]
        described: Operation = view.operation
        where = f"{method} {re.sub('[0-9a-f]{32}', '{id}', path)} answered {response.status_code}"
        if response.mimetype == PROBLEM:
            code = response.get_json()["code"]
            assert code in ANYWHERE.union(described.errors), f"{where} {code}, of which its description knows nothing"
            _validator("Problem").validate(response.get_json())
        elif response.status_code < 300:
            assert response.status_code in described.replies, f"{where}, of which its description knows nothing"
            if schema := described.replies[response.status_code].schema:
                _validator(schema).validate(response.get_json())
