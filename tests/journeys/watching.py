"""Watches a page and its server while they work: how long the page did not answer, and memory. Knows no page by name."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page

_TASKS = """new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.longest = Math.max(window.longest ?? 0, entry.duration);
}).observe({ type: "longtask", buffered: true });"""
"""A long task takes more than 50 ms (W3C Long Tasks): shorter ones are not told."""


def watch(page: Page) -> None:
    """Note the longest task of every document that ``page`` opens from now on."""
    page.add_init_script(_TASKS)


def longest_task_ms(page: Page) -> float:
    """Of the document that is open; 0 where none took 50 ms."""
    return float(page.evaluate("window.longest ?? 0"))


@dataclass(frozen=True, slots=True)
class PageMemory:
    """What the open document holds."""

    heap_mib: float
    nodes: int
    renderer_mib: float
    """Resident, of the largest renderer of the browser."""


def page_memory(browser: Browser, page: Page) -> PageMemory:
    """After a collection, so that garbage does not count."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    asked = browser.new_browser_cdp_session()
    processes = asked.send("SystemInfo.getProcessInfo")["processInfo"]
    asked.detach()
    largest = 0.0
    for each in processes:
        if each["type"] == "renderer":
            with suppress(FileNotFoundError, ProcessLookupError):  # that of a window which was closed ends when it likes
                largest = max(largest, resident_mib(int(each["id"])))
    return PageMemory(metrics["JSHeapUsedSize"] / 2**20, int(metrics["Nodes"]), largest)


def resident_mib(pid: int, *, peak: bool = False) -> float:
    """Resident memory of one process, MiB: now, or the most that it ever had."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(wanted)), 0.0)


def worker_of(server: int) -> int:
    """The process that answers for ``server``, its supervisor."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text(encoding="ascii").split()
    return int(children[0])
