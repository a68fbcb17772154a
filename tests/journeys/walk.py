"""Walks every page that somebody can reach by links, one of each shape. Knows no page by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from playwright.sync_api import Error, Page

from tests.journeys.visitor import Visitor

IDS = re.compile(r"[0-9a-f]{32}|(?<=/)\d+(?=/|$)")
NOT_PAGES = re.compile(r"/(?:assets|api|metrics|healthz|readyz)(?:/|$)|/download|/export|/pages/")
MOST = 60


def shape(path: str) -> str:
    """Two patients' files are one shape of page; queries don't count."""
    return IDS.sub("…", path)


def _links(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all("a[href]:not([download])", "links => links.map(link => link.href)")
    return found


def _is_page(visitor: Visitor, path: str) -> bool:
    """Open it; False where it is a file that the browser saves."""
    try:
        visitor.go(path)
    except Error as error:
        if "Download is starting" in error.message:
            return False
        raise
    return True


def walk(visitor: Visitor, start: str = "/") -> Iterator[str]:
    """The path of each page, loaded in ``visitor.page``; breadth first, at most MOST pages."""
    host = urlsplit(visitor.site.url).netloc
    waiting, seen = [start], {shape(start)}
    for _ in range(MOST):
        if not waiting:
            return
        path = waiting.pop(0)
        if not _is_page(visitor, path):
            continue
        yield path
        for link in _links(visitor.page):
            parts = urlsplit(link)
            if parts.netloc == host and not NOT_PAGES.search(parts.path) and shape(parts.path) not in seen:
                seen.add(shape(parts.path))
                waiting.append(parts.path)
    raise AssertionError(f"more than {MOST} shapes of pages: do links hold something that changes? {sorted(seen)[-5:]}")
