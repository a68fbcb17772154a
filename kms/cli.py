"""Owns the operator's verbs on keys: ``coffre keys …``. It must not know what keys protect, nor how the console opens them."""

from __future__ import annotations

import base64
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, cast

import click

from kms import hosting
from kms.canary import handover
from kms.errors import BadSettings, KeyMissing
from kms.keys import KeyRecord, KeyState, KeyUse
from kms.lifecycle import Lifecycle
from kms.terminal import Exit, answer, json_option


class KeyConsole(Protocol):
    """What these verbs need of the console that the outer rooms hand over in click's context."""

    config: Path
    environment: Mapping[str, str]

    @property
    def lifecycle(self) -> Lifecycle:
        """The life of this vault's keys, opened when first asked for."""


def described(record: KeyRecord) -> dict[str, str | int]:
    """A key version for ``--json``."""
    return {
        "use": record.use.value,
        "number": record.number,
        "state": record.state.value,
        "created_at": datetime.fromtimestamp(record.created_at, UTC).isoformat(),
        "wraps": record.wraps,
    }


def line(record: KeyRecord, remark: str = "") -> str:
    """A key version for people."""
    made = datetime.fromtimestamp(record.created_at, UTC).date().isoformat()
    return f"{record.use.value:<8} {record.number:>4}  {record.state.value:<13} {made}  {remark}".rstrip()


@click.group()
def keys() -> None:
    """Keys in the token: list, check, make, rotate and end them.

    \b
    Example:
      coffre keys check
    """


def _lifecycle(context: click.Context) -> Lifecycle:
    """The vault's keys; or a key process's own, where the settings file is one's."""
    console = cast("KeyConsole", context.obj)
    if not hosting.is_host(console.config):
        return console.lifecycle
    life = hosting.open_lifecycle(hosting.load(console.config, console.environment))
    context.call_on_close(life.keys.close)
    return life


@keys.command("list")
@json_option
@click.pass_context
def list_keys(context: click.Context, as_json: bool) -> None:
    """Every key version that this vault ever had, from the registry; the token is not asked.

    \b
    Example:
      coffre keys list
    """
    records = _lifecycle(context).records()
    lines = [line(record, f"{record.wraps} wraps counted" if record.wraps else "") for record in records]
    answer(
        {"keys": [described(record) for record in records]},
        lines or ["There is no key yet: run coffre init."],
        as_json=as_json,
    )


@keys.command()
@click.option("--retry-pin", is_flag=True, help="Try a PIN that the token refused once more.")
@json_option
@click.pass_context
def check(context: click.Context, retry_pin: bool, as_json: bool) -> None:
    """Ask the token for each key: is it there once, is it the right one, can it leave? Exit 1 when something is wrong.

    \b
    Example:
      coffre keys check --json
    """
    life = _lifecycle(context)
    if retry_pin:
        life.keys.pool.retry_pin()
    found = [(record, life.check(record)) for record in life.records()]
    if not found:
        raise KeyMissing("There is no key yet: run coffre init.")
    health = life.keys.health()
    ok = health.ok and not any(faults for _, faults in found)
    data = {
        "ok": ok,
        "token": {"ok": health.ok, "detail": health.detail, **health.facts},
        "keys": [{**described(record), "ok": not faults, "faults": faults} for record, faults in found],
    }
    lines = [line(record, "; ".join(faults) or "ok") for record, faults in found]
    answer(data, [*lines, "", health.detail], as_json=as_json)
    if not ok:
        context.exit(Exit.NOT_WELL)


@keys.command()
@click.pass_obj
def serve(console: KeyConsole) -> None:
    """Run the key process: it alone holds PIN and token, and answers the vault over a Unix socket.

    Its settings file has a [kms] and a [key_process] table; the vault's own names the socket. Ctrl-C or SIGTERM stops it.

    \b
    Example:
      coffre --config /etc/coffre-keys/keys.toml keys serve
    """
    server = hosting.open_server(hosting.load(console.config, console.environment))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: server.close())
    click.echo("The key process is listening.", err=True)
    hosting.serve(server)


@keys.command()
@click.argument("use", type=click.Choice([use.value for use in KeyUse]), required=False)
@json_option
@click.pass_context
def renew(context: click.Context, use: str | None, as_json: bool) -> None:
    """On a key process's host: make the first keys, or a new active version of one.

    Then, where the vault is: `coffre keys rewrap` after kek, `coffre keys reindex` after mac, and `coffre keys hand-over` after
    audit, with the voucher by which the old audit key signs for the new one.

    \b
    Example:
      coffre --config /etc/coffre-keys/keys.toml keys renew kek
    """
    console: KeyConsole = context.obj
    if not hosting.is_host(console.config):
        raise BadSettings("this is for a key process's host; for a vault that holds its own token: coffre keys rotate")
    life = _lifecycle(context)
    active = {record.use for record in life.records() if record.state is KeyState.ACTIVE}
    wanted = [KeyUse(use)] if use else [each for each in life.offered() if each not in active]
    made = [_renewed(life, each) for each in wanted]
    lines = [line(record, "active") for record, _ in made]
    lines += [f"coffre keys hand-over {record.use} {record.number} {voucher}" for record, voucher in made if voucher]
    data = [{**described(record), **({"voucher": voucher} if voucher else {})} for record, voucher in made]
    answer({"keys": data}, lines or ["Every key is there already."], as_json=as_json)


def _renewed(life: Lifecycle, use: KeyUse) -> tuple[KeyRecord, str]:
    """A new active version, and the voucher of the audit key before it, where there was one."""
    before = [record for record in life.records() if (record.use, record.state) == (KeyUse.AUDIT, KeyState.ACTIVE)]
    if not use.is_signing or not before:
        return life.rotate(use), ""
    fresh = life.create(use)
    voucher = base64.b64encode(life.keys.sign(handover(fresh.canary)).raw).decode()
    return life.activate(fresh), voucher
