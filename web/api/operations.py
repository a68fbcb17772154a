"""Owns how an API view describes itself, and the OpenAPI 3.1 document made of it all. It must not know the views."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import current_app

from web.api.shapes import ID_PATTERN, Shape
from web.errors import PROBLEM, TABLE
from web.routes import declaration

View = TypeVar("View", bound=Callable[..., Any])

ALWAYS = ("bad_request", "not_signed_in", "csrf_refused", "unknown_host", "internal")
"""Refusals that any operation may answer."""
METHODS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True)
class Reply:
    """One successful answer."""

    description: str
    schema: str | None = None
    """The name of a component, for JSON."""
    media: tuple[str, ...] = ()
    """Media types, for anything else."""
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """What an API view takes and gives."""

    summary: str
    replies: Mapping[int, Reply]
    body: Shape | None = None
    media: str | None = None
    """The media type of a streamed body."""
    query: Shape | None = None
    headers: tuple[str, ...] = ()
    """Request headers that matter."""
    errors: tuple[str, ...] = ()


def operation(summary: str, replies: Mapping[int, Reply], **facts: Any) -> Callable[[View], View]:
    """Describe an API view."""

    def mark(view: View) -> View:
        view.operation = Operation(summary, replies, **facts)  # type: ignore[attr-defined]  # functions carry attributes
        return view

    return mark


def openapi(schemas: Mapping[str, Mapping[str, Any]], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of every route under ``/api/v1``, read from the URL map itself."""
    paths: dict[str, dict[str, Any]] = {}
    for rule in current_app.url_map.iter_rules():
        view = current_app.view_functions[rule.endpoint]
        described: Operation | None = getattr(view, "operation", None)
        if described is None or not rule.rule.startswith("/api/v1"):
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule.removeprefix("/api/v1")) or "/"
        for method in METHODS:
            if method.upper() in (rule.methods or ()):
                paths.setdefault(path, {})[method] = _described(described, view, rule.endpoint, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Coffre", "version": version, "description": "The document vault of a medical practice."},
        "servers": [{"url": "/api/v1"}],
        "security": [{"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "The token of POST /sessions."}},
            "schemas": {name: dict(schema) for name, schema in schemas.items()},
            "responses": {code: _refusal(code) for code in TABLE},
        },
    }


def _described(described: Operation, view: Callable[..., Any], endpoint: str, path: str) -> dict[str, Any]:
    facts = declaration(view)
    found: dict[str, Any] = {
        "operationId": endpoint.removeprefix("api.").replace(".", "_"),
        "summary": described.summary,
        "tags": [path.strip("/").partition("/")[0]],
        "x-audit": [str(action) for action in facts.actions] or facts.reason,
        "responses": {str(status): _reply(reply) for status, reply in described.replies.items()},
    }
    if facts.public:
        found["security"] = []
    parameters = [_path_parameter(name) for name in re.findall(r"{(\w+)}", path)]
    if described.query:
        parameters += [
            {"name": name, "in": "query", "required": member.is_required, "schema": dict(member.schema)}
            for name, member in described.query.fields.items()
        ]
    parameters += [
        {"name": name, "in": "header", "required": False, "schema": {"type": "string"}} for name in described.headers
    ]
    if parameters:
        found["parameters"] = parameters
    if described.body:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": described.body.schema()}}}
    if described.media:
        content = {described.media: {"schema": {"type": "string", "format": "binary"}}}
        found["requestBody"] = {"required": True, "content": content}
    for code in (*described.errors, *ALWAYS):
        _add_refusal(found["responses"], code)
    return found


def _path_parameter(name: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1} if name == "number" else {"type": "string", "pattern": ID_PATTERN}
    if name == "code":
        schema = {"type": "string"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _reply(reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = {"description": reply.description}
    if reply.schema:
        found["content"] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{reply.schema}"}}}
    if reply.media:
        found["content"] = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in reply.media}
    if reply.headers:
        found["headers"] = {name: {"schema": {"type": "string"}} for name in reply.headers}
    return found


def _refusal(code: str) -> dict[str, Any]:
    schema = {"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"code": {"const": code}}}]}
    return {"description": code, "content": {PROBLEM: {"schema": schema}}}


def _add_refusal(responses: dict[str, Any], code: str) -> None:
    """Several codes may share a status: the response then names them all."""
    status = str(TABLE[code].status.value)
    known = responses.get(status)
    if known is None:
        responses[status] = {"$ref": f"#/components/responses/{code}"}
        return
    codes = known.get("x-codes") or [known["$ref"].rpartition("/")[2]]
    codes = [*codes, code] if code not in codes else codes
    if len(codes) > 1:
        content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        responses[status] = {"description": " · ".join(codes), "x-codes": codes, "content": content}
