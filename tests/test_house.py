"""The house rules that a linter can't hold: names, sizes, who may import what, who may make what. Knows no behaviour."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("kms", "vault", "web")

TOP_LEVEL = {
    ".ci", ".dockerignore", ".editorconfig", ".gitignore", "CHANGELOG.md", "Dockerfile", "LICENSE", "Makefile", "README.md",
    "docs", "kms", "pyproject.toml", "softhsm", "tests", "vault", "web",
    "requirements-bench.txt", "requirements-demo.txt", "requirements-dev.txt", "requirements.txt",
}  # fmt: skip

FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "stuff", "tools"}

FILE_LINES = 400
WHOLE = {
    "vault/audit/offline.py": "a program that auditors are handed as one file",
    "vault/storage/schema.py": "all tables stand on one page",
    "vault/storage/migrations/main/0001_initial.py": "the same tables, as the first release makes them",
}
"""Files that must not be split, and why."""
COMPOSED = {
    "vault/opening.py:open_vault": "the whole dependency injection, read from top to bottom",
    "web/__init__.py:create_app": "the same for the application",
}
"""Long functions that only list, and why."""
FUNCTION_LINES = 60
"""An alarm well above the house's 40, so that a clear long function needs no excuse and a sprawling one does."""

PATCHES = re.compile(r"""mock\.patch|from unittest import mock|monkeypatch\.setattr\((?!["'](?!kms|vault|web|tests))""")
"""The standard library's own switches (``tempfile.tempdir``) may be set; objects and our modules may not."""


@cache
def tracked() -> tuple[Path, ...]:
    """Every file of the project that git knows and that still exists."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


@cache
def sources(*rooms: str) -> tuple[Path, ...]:
    return tuple(path for room in rooms or ROOMS for path in sorted((ROOT / room).rglob("*.py")))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> Iterator[str]:
    """Top-level names of every module imported anywhere in the file."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def importers(package: str) -> set[str]:
    return {named(path) for path in sources() if any(name.split(".")[0] == package for name in imports_of(path))}


def test_nothing_new_stands_at_the_top_level() -> None:
    present = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert present <= TOP_LEVEL, f"not part of the fixed top level: {sorted(present - TOP_LEVEL)}"


def test_no_module_has_a_name_that_says_nothing() -> None:
    offenders = [named(path) for path in sources(*ROOMS, "tests") if path.stem in FORBIDDEN_NAMES]
    offenders += [named(path) for path in sources(*ROOMS, "tests") if path.parent.name in FORBIDDEN_NAMES]
    assert offenders == []


@pytest.mark.parametrize("path", sources(*ROOMS, "tests"), ids=named)
def test_file_stays_readable(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LINES or named(path) in WHOLE, f"{named(path)} has {lines} lines; split it by what it owns"


@pytest.mark.parametrize("path", [path for path in sources() if "migrations" not in path.parts], ids=named)
def test_functions_stay_readable(path: Path) -> None:
    long = [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES
        and f"{named(path)}:{node.name}" not in COMPOSED
    ]
    assert long == []


@pytest.mark.parametrize("path", sources(), ids=named)
def test_module_says_what_it_owns(path: Path) -> None:
    text = ast.get_docstring(tree_of(path))
    assert text, f"{named(path)} starts without saying what it owns and what it must not know"


def test_every_package_has_a_face() -> None:
    folders = {path.parent for path in sources(*ROOMS, "tests")}
    assert [
        named(folder) for folder in folders if not (folder / "__init__.py").exists() and "migrations" not in folder.parts
    ] == []


def test_at_most_two_files_know_pkcs11() -> None:
    assert 1 <= len(importers("pkcs11")) <= 2, importers("pkcs11")
    assert all(name.startswith("kms/") for name in importers("pkcs11"))


@pytest.mark.parametrize("package", ["pyotp", "flask_login"])
def test_one_file_knows(package: str) -> None:
    assert len(importers(package)) <= 1, importers(package)


def test_one_module_mints_an_actor() -> None:
    makers = {
        named(path)
        for path in sources()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and (node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")) == "Actor"
    }
    assert len(makers) <= 1, f"only the sessions module may construct Actor: {sorted(makers)}"


def test_broad_excepts_stand_only_at_the_outermost_doors() -> None:
    allowed = re.compile(r"^web/errors\.py$|(^|/)cli\.py$|^kms/terminal\.py$")
    offenders = [
        f"{named(path)}:{node.lineno}"
        for path in sources()
        if not allowed.search(named(path))
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _says_why(path, node.lineno)
    ]
    assert offenders == [], "a broad except needs `# noqa: BLE001  # reason`, and a good one"


def _is_broad(handler: ast.ExceptHandler) -> bool:
    """Catches everything, and does not let it go on: `except BaseException: clean(); raise` swallows nothing."""
    if isinstance(handler.body[-1], ast.Raise):
        return False
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}) for kind in kinds)


def _says_why(path: Path, line: int) -> bool:
    text = path.read_text(encoding="utf-8").splitlines()[line - 1]
    return bool(re.search(r"# noqa: BLE001\b.*\w{3,}", text))


def test_our_own_code_is_never_patched() -> None:
    offenders = []
    for path in sources("tests"):
        text = path.read_text(encoding="utf-8")
        if path.name != "test_house.py" and PATCHES.search(text):
            offenders.append(named(path))
    assert offenders == [], "use a fake or a simulator passed as an argument"


@pytest.mark.parametrize("path", sources(*ROOMS, "tests"), ids=named)
def test_silenced_checks_carry_a_reason(path: Path) -> None:
    bare = [
        f"{named(path)}:{number}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"#\s*(?:noqa(?:: ?[A-Z0-9, ]+)?|type: ignore(?:\[[\w, -]+\])?)\s*$", line)
    ]
    assert bare == [], "say why: `# noqa: RULE  # reason`"


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-demo.txt", "requirements-dev.txt", "requirements-bench.txt"]
)
def test_locks_hold_hashes_and_no_place(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|file:|--(?:extra-)?inde[x]-url|--find-link[s]|^-", text, re.MULTILINE)
    pins = re.findall(r"^[\w.\[\],-]+==[^\s;\\]+", text, re.MULTILINE)
    assert len(pins) > 20
    for block in re.split(r"\n(?=[\w])", text)[1:]:
        assert "--hash=sha256:" in block, block.splitlines()[0]


def test_runtime_lock_is_part_of_the_wider_ones() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[\w.\[\],-]+==[^\s;\\]+", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))

    assert pins("requirements.txt") <= pins("requirements-demo.txt") <= pins("requirements-dev.txt")


OF_A_MACHINE = {
    "somebody's home directory": re.compile(r"/(?:root|home/[\w.-]+|Users/[\w.-]+)/\w"),
    "a package index": re.compile(r"--(?:extra-)?inde[x]-url|--find-link[s]|\b(?:PIP|UV)_(?:EXTRA_)?INDE[X]|tool\.uv\.inde[x]"),
    "a registry's address": re.compile(r"https?://[\w.@:-]*(?:pyp[i]|npmj[s]|registr[y]|artifact[s]?|nexu[s])[\w.-]*[/:]"),
    "a tool as author": re.compile(r"(?i)co-authored-b[y]|\bgenerated wit[h] |\bas an? (?:ai|language mode[l])\b"),
}
"""What belongs to the machine or the tool that a file was written with, never to the project. No pattern matches itself."""


@cache
def texts() -> dict[str, str]:
    """Every tracked text file, lock files included."""
    found = {}
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            found[named(path)] = data.decode("utf-8", errors="replace")
    return found


@pytest.mark.parametrize("trace", OF_A_MACHINE)
def test_nothing_tracked_tells_where_or_with_what_it_was_written(trace: str) -> None:
    offenders = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in texts().items()
        for match in OF_A_MACHINE[trace].finditer(text)
    ]
    assert offenders == [], f"names {trace}"


def test_the_patterns_see_what_they_are_for() -> None:
    """Samples are put together here, so that this file holds none of them."""
    samples = {
        "somebody's home directory": ["/ho" + "me/lea/coffre", "/ro" + "ot/project"],
        "a package index": ["--index" + "-url", "PIP_IND" + "EX_URL"],
        "a registry's address": ["https://py" + "pi.example/simple", "https://reg" + "istry.example:5000/x"],
        "a tool as author": ["Co-Authored" + "-By: somebody"],
    }
    for trace, lines in samples.items():
        for line in lines:
            assert OF_A_MACHINE[trace].search(line), line
