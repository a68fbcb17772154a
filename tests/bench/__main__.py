"""The benchmarks: ``python -m tests.bench [--only seal,upload] [--full]``. Prints a table and writes var/bench.json."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path

import click

from tests.bench import measure, sizes
from tests.bench.rows import ROWS

PLACE = Path(__file__).parents[2] / "var" / "bench.json"


def _earlier() -> list[dict[str, object]]:
    try:
        rows: list[dict[str, object]] = json.loads(PLACE.read_text(encoding="utf-8"))["figures"]
    except (OSError, ValueError, KeyError):
        return []
    return rows


def _run(wanted: list[str]) -> tuple[list[tuple[str, measure.Figure]], dict[str, str]]:
    """The figures of every row, and what went wrong with those that broke: one must not cost the others' hour."""
    figures: list[tuple[str, measure.Figure]] = []
    broken: dict[str, str] = {}
    for name in wanted:
        click.echo(f"… {name}: {ROWS[name][1]}", err=True)
        try:
            figures += [(name, figure) for figure in ROWS[name][0]()]
        except Exception as error:  # noqa: BLE001  # told in the table, and by the exit status
            broken[name] = f"{type(error).__name__}: {error}"
    return figures, broken


@click.command()
@click.option("--only", default=os.environ.get("ONLY", ""), help="Rows to run, separated by commas; all of them by default.")
@click.option(
    "--full", is_flag=True, help="The targets' own sizes (1 GiB, 1,000,000 documents and events) instead of everyday ones."
)
@click.option("--list", "listing", is_flag=True, help="List the rows and stop.")
def main(only: str, *, full: bool, listing: bool) -> None:
    """Measure Coffre side by side with its peers and with a plain program that does the same without a vault."""
    if listing:
        for name, (_, sentence) in ROWS.items():
            click.echo(f"{name:<14} {sentence}")
        return
    wanted = [name.strip() for name in only.split(",") if name.strip()] or list(ROWS)
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        raise click.UsageError(f"no row called {', '.join(unknown)}; there are {', '.join(ROWS)}")
    if full:
        os.environ[sizes.FULL] = "1"
    figures, broken = _run(wanted)
    for line in measure.table(figures):
        click.echo(line)
    for name, trouble in broken.items():
        click.echo(f"{name:<13} did not run: {trouble}")
    if not sizes.is_full():
        click.echo("Everyday sizes, named in each line; the targets' own with `make bench FULL=1`.")
    taken = [name for name in wanted if name not in broken]
    kept = [figure for figure in _earlier() if figure["row"] not in taken]
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "at": int(time.time()),
        "load": os.getloadavg()[0],
        "full": sizes.is_full(),
    }
    PLACE.parent.mkdir(exist_ok=True)
    PLACE.write_text(json.dumps({"machine": machine, "figures": kept + measure.as_json(figures)}, indent=1), encoding="utf-8")
    click.echo(f"written to {PLACE}", err=True)
    if broken:
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main())
