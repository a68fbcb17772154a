"""Owns how a settings table is read, and the ``[kms]`` table. It must not know the other rooms' tables."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kms.errors import BadSettings

T = TypeVar("T")


def _convert(where: str, wanted: Any, value: object, base: Path) -> object:
    """One TOML value or environment string as the annotated type; relative paths count from the settings file's directory."""
    if isinstance(wanted, types.UnionType):
        wanted = next(kind for kind in typing.get_args(wanted) if kind is not type(None))
    if wanted is Path and isinstance(value, str):
        return base / Path(value).expanduser()
    if wanted is bool and isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if wanted is int and isinstance(value, str) and value.strip().lstrip("-").isdigit():
        return int(value)
    if typing.get_origin(wanted) is tuple:
        items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, str) for item in items):
            return tuple(items)
    elif isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
        return value
    raise BadSettings(f"{where}: expected {getattr(wanted, '__name__', wanted)}, found {value!r}")


def read_table(kind: type[T], name: str, table: Mapping[str, object], environment: Mapping[str, str], base: Path) -> T:
    """A frozen settings object of ``kind`` from one TOML table, with ``COFFRE_<TABLE>_<KEY>`` overrides.

    Raises BadSettings for unknown keys, missing required keys and values of the wrong type, naming the key.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # T is always a dataclass
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise BadSettings(f"[{name}] has no setting called {', '.join(unknown)}; known: {', '.join(sorted(fields))}")
    values: dict[str, object] = {}
    for key, field in fields.items():
        variable = f"COFFRE_{name.upper()}_{key.upper()}"
        if variable in environment:
            values[key] = _convert(variable, hints[key], environment[variable], base)
        elif key in table:
            values[key] = _convert(f"[{name}] {key}", hints[key], table[key], base)
        elif field.default is dataclasses.MISSING:
            raise BadSettings(f"[{name}] {key} is missing")
    return kind(**values)


@dataclass(frozen=True, slots=True)
class KmsSettings:
    """The ``[kms]`` table: where the token is and how to enter it."""

    module: Path = Path()
    """The PKCS#11 module's shared library."""
    token_label: str = ""
    pin_file: Path = Path()
    """A file of mode 0600 that holds the user PIN; the PIN itself is never a setting."""
    softhsm_conf: Path | None = None
    """For SoftHSM only: its configuration file, exported as SOFTHSM2_CONF before the module loads."""
    library_parameters: str | None = None
    """For NSS only: the parameter string of its module (``configdir='sql:/path' … flags=noModDB``)."""
    socket: Path | None = None
    """The key process's socket. With it, this process holds neither PIN nor token, and the settings above stand empty."""
    profile: str = "softhsm"
    """Which HSM profile to follow (mechanism, IV mode, thread mode, sessions, suite)."""
    key_label: str = "coffre"
    """How the labels of our keys begin: ``coffre/kek/0001``, ``coffre/mac/0001``, ``coffre/audit/0001``."""
    sessions: int = 8
    """How many PKCS#11 sessions the pool may hold."""
    timeout_ms: int = 4000
    """How long one call may wait for the token before KeysUnavailable."""
