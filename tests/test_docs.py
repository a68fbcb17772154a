"""Holds that the documentation names every setting, error code, command and role. Knows no behaviour."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

import kms.errors
import kms.settings
import vault.errors
import vault.settings
import web.cli
import web.settings
from vault.model import Role

ROOT = Path(__file__).parents[1]
OPERATIONS = ROOT / "docs" / "operations.md"


def documentation() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])


def settings() -> Iterator[tuple[str, str]]:
    """(table, key) of every setting; a settings class names its table in its first sentence."""
    for module in (kms.settings, vault.settings, web.settings):
        for _name, kind in inspect.getmembers(module, dataclasses.is_dataclass):
            if kind.__module__ == module.__name__ and (table := re.search(r"``\[(\w+)\]``", kind.__doc__ or "")):
                yield from ((table[1], field.name) for field in dataclasses.fields(kind))


def codes(module: ModuleType) -> Iterator[str]:
    for _name, kind in inspect.getmembers(module, inspect.isclass):
        if issubclass(kind, Exception) and kind.__module__ == module.__name__ and hasattr(kind, "code"):
            yield kind.code


def verbs(command: click.Command, *path: str) -> Iterator[tuple[str, click.Command]]:
    """("coffre keys rotate", its command) of every leaf."""
    if isinstance(command, click.Group):
        for name, child in sorted(command.commands.items()):
            yield from verbs(child, *path, name)
    else:
        yield " ".join(path), command


VERBS = dict(verbs(web.cli.coffre, "coffre"))


@pytest.mark.parametrize(("table", "key"), sorted(set(settings())))
def test_setting_is_documented(table: str, key: str) -> None:
    assert re.search(rf"`(?:\[{table}\] )?{key}`", OPERATIONS.read_text(encoding="utf-8")), (
        f"docs/operations.md: [{table}] {key}"
    )


@pytest.mark.parametrize("code", sorted({*codes(vault.errors), *codes(kms.errors)} - {"vault_error", "keys_error"}))
def test_error_code_is_documented(code: str) -> None:
    assert f"`{code}`" in documentation(), f"no page explains `{code}`"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_verb_is_documented_and_shows_an_example(verb: str) -> None:
    assert f"`{verb}" in documentation(), f"no page names `{verb}`"
    text = f"{VERBS[verb].help or ''}\n{VERBS[verb].epilog or ''}"
    assert re.search(r"(?m)^\s*(?:\$ |\w+=\S+ )*coffre ", text), f"{verb} --help shows no example"


def test_every_group_of_verbs_shows_an_example() -> None:
    groups = [web.cli.coffre, *(each for each in web.cli.coffre.commands.values() if isinstance(each, click.Group))]
    silent = [group.name for group in groups if not re.search(r"(?m)^\s+coffre ", group.help or "")]
    assert silent == [], "`--help` shows no example"


@pytest.mark.parametrize("role", sorted(Role))
def test_role_is_documented(role: Role) -> None:
    assert f"`{role}`" in documentation()


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *(ROOT / "softhsm").glob("*.md"),
    ]:
        targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        broken += [f"{page}: {target}" for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert broken == []


def test_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    named = set(re.findall(r"\bmake ([a-z-]+)\b", "\n".join(re.findall(r"`[^`]+`|```[\s\S]*?```", documentation()))))
    assert named <= targets, f"no such target: {sorted(named - targets)}"
