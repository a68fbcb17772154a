"""Owns the operator's verbs on the vault, and the console that opens it for the verbs of every room. It must not know HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import click

from kms.lifecycle import Lifecycle
from kms.settings import KmsSettings
from kms.terminal import Exit, answer, json_option, yes_option
from kms.token import TokenKeys
from vault import founding
from vault.errors import BadSettings
from vault.opening import Vault, now_micros, open_vault
from vault.settings import VaultSettings, load
from vault.storage.keyring import SqlRegistry
from vault.storage.slots import Slots, TokenCopies
from vault.upkeep import ceremony
from vault.upkeep import doctor as doctor_checks
from vault.upkeep.custody import Custody
from vault.upkeep.reconcile import Reconciliation
from vault.upkeep.recovery import Recovery
from vault.upkeep.reindex import Reindexing
from vault.upkeep.rotation import Rewrapping

DEFAULT_CONFIG = Path("/etc/coffre/coffre.toml")
SOFTHSM_MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


class Console:
    """What a verb may reach: the settings, and the vault, opened when first asked for."""

    def __init__(self, config: Path, environment: Mapping[str, str], names: Callable[[], tuple[str, ...]] = tuple) -> None:
        """``names`` gives the practice's names, of which no password may be made, once the vault is opened."""
        self.config = config
        self.environment = environment
        self.names = names

    @cached_property
    def settings(self) -> VaultSettings:
        """The vault's settings. Raises NotInitialised, BadSettings."""
        return load(self.config, self.environment)

    @cached_property
    def vault(self) -> Vault:
        """The open vault; closed by ``close``."""
        return open_vault(self.settings, names=self.names())

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """The life of the vault's keys. Raises BadSettings where the keys are not in this process."""
        keys = self.vault.keys
        if not isinstance(keys, TokenKeys):
            raise BadSettings("the keys of this vault are in a key process of their own; run this where that process runs")
        return Lifecycle(keys, SqlRegistry(self.vault.keyring_db))

    @property
    def lifecycle_here(self) -> Lifecycle | None:
        """The same; None where a key process holds the keys."""
        return self.lifecycle if isinstance(self.vault.keys, TokenKeys) else None

    @cached_property
    def custody(self) -> Custody:
        """The custodian's acts on the vault's keys. Raises as ``lifecycle`` does."""
        vault = self.vault
        rewrapping = Rewrapping(vault.keyring, vault.keys, vault.installation.tenant)
        return Custody(
            lifecycle=self.lifecycle_here,
            keys=vault.keys,
            rewrapping=rewrapping,
            reindexing=self.reindexing,
            keyring=vault.keyring,
            keyring_db=vault.keyring_db,
            log=vault.log,
            clock=vault.clock,
        )

    @property
    def recovery(self) -> Recovery:
        """The recovery slot."""
        vault = self.vault
        slots, tenant = Slots(vault.keyring_db), vault.installation.tenant
        return Recovery(keyring=vault.keyring, slots=slots, keys=vault.keys, tenant=tenant, clock=vault.clock)

    @property
    def reindexing(self) -> Reindexing:
        """Search values and fingerprints, made anew."""
        return Reindexing(self.vault.db, self.vault.scopes, self.vault.keys, self.vault.installation.tenant)

    @property
    def reconciliation(self) -> Reconciliation:
        """The key process's log beside the access log."""
        return Reconciliation(self.vault.keyring, self.vault.log)

    def ceremony(self, choice: ceremony.Choice | None, *, asking: bool) -> ceremony.Ended:
        """The end of `coffre init`: a way back, made and tried. Nothing is asked where one was tried already."""
        vault = self.vault
        if choice is None and ceremony.is_over(vault.keyring.slot(), TokenCopies(vault.keyring_db).newest()):
            return ceremony.Ended(ok=True, data={"recovery": "tried"}, lines=())
        if choice is None and not asking:
            return ceremony.Ended(ok=False, data={"recovery": "missing"}, lines=(ceremony.MISSING,))
        wanted = choice or ceremony.ask(self.settings.kms)
        return ceremony.perform(self, wanted, asking=asking, clock=now_micros)

    def close(self) -> None:
        """Close the vault where it was opened; it opens again when it is asked for again."""
        for kept in ("lifecycle", "custody"):
            self.__dict__.pop(kept, None)
        if (vault := self.__dict__.pop("vault", None)) is not None:
            vault.close()


def default_config() -> Path:
    """``COFFRE_CONFIG``, else ``./coffre.toml`` where there is one, else the system's place."""
    named = os.environ.get("COFFRE_CONFIG")
    if named:
        return Path(named).resolve()
    here = Path("coffre.toml").resolve()
    return here if here.exists() else DEFAULT_CONFIG


@click.command()
@click.option(
    "--module", type=click.Path(path_type=Path), default=SOFTHSM_MODULE, show_default=True, help="The HSM's PKCS#11 module."
)
@click.option("--token-label", help="The label of an initialised token; needed unless the settings stand already.")
@click.option(
    "--pin-file",
    type=click.Path(path_type=Path),
    help="A file of mode 0600 with the token's user PIN; needed unless the settings stand already.",
)
@click.option("--softhsm-conf", type=click.Path(path_type=Path), help="SoftHSM2 only: its configuration file.")
@click.option("--practice", default="Cabinet médical", show_default=True, help="The practice's name, as screens show it.")
@click.option("--bind", default="127.0.0.1:8000", show_default=True, help="Where `coffre serve` will listen.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Where databases and documents will live.  [default: beside the settings; /var/lib/coffre for settings in /etc]",
)
@click.option(
    "--recovery-cards", metavar="N/M", help="The way back: any N of M cards of words open the vault without its token."
)
@click.option(
    "--token-copy", type=click.Path(path_type=Path), help="The way back: a copy of a SoftHSM2 token in this empty directory."
)
@click.option("--without-recovery", metavar="SENTENCE", help=f'No way back; the sentence is "{ceremony.SENTENCE}".')
@yes_option
@json_option
@click.pass_context
def init(  # noqa: PLR0917  # one parameter for each option, as click calls it
    context: click.Context,
    module: Path,
    token_label: str | None,
    pin_file: Path | None,
    softhsm_conf: Path | None,
    practice: str,
    bind: str,
    data: Path | None,
    recovery_cards: str | None,
    token_copy: Path | None,
    without_recovery: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Make a new vault: settings, databases, keys in the token, and a way back should the token be lost, tried.

    At a terminal it asks which way back; a program chooses one of the three options. Running it again finishes what is left.
    Settings that stand already (PostgreSQL, a key process) are taken as they are.

    \b
    Example:
      coffre init --token-label coffre --pin-file /etc/coffre/pin --practice "Cabinet des Tilleuls"
    """
    console: Console = context.obj
    choice = ceremony.chosen(recovery_cards, token_copy, without_recovery)
    asking = ceremony.may_ask(as_json=as_json, yes=yes)
    if choice is None and not asking and not console.config.exists():
        raise click.UsageError("Nobody can be asked here: add --recovery-cards 2/3, --token-copy DIR or --without-recovery.")
    if not console.config.exists():
        if token_label is None or pin_file is None:
            raise click.UsageError(
                f"There are no settings in {console.config} yet: name the token with --token-label and --pin-file."
            )
        kms = KmsSettings(
            module=module,
            token_label=token_label,
            pin_file=pin_file.resolve(),
            softhsm_conf=softhsm_conf.resolve() if softhsm_conf else None,
        )
        founding.write_settings(console.config, kms, practice=practice, bind=bind, data=data)
    tenant = founding.found(console.settings, now_micros())
    ended = console.ceremony(choice, asking=asking)
    ready = f"The vault is ready; its settings are in {console.config}."
    following = "Next: coffre user add --role owner NAME   then: coffre serve"
    answer(
        {"ok": ended.ok, "config": str(console.config), "tenant": tenant, **ended.data},
        [*ended.lines, *([ready, following] if ended.ok else [])],
        as_json=as_json,
    )
    if not ended.ok:
        context.exit(Exit.NOT_WELL)


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Examine this installation: token, databases, permissions, clock, disk.

    \b
    Example:
      coffre doctor --json
    """
    report = doctor_checks.examine(context.obj.vault)
    answer(
        {
            "ok": report.ok,
            "checks": [{"id": check.id, "ok": check.ok, "detail": check.detail} for check in report.checks],
            "paths": report.paths,
        },
        [
            *(f"{'ok ' if check.ok else 'BAD'}  {check.id:<12} {check.detail}" for check in report.checks),
            "",
            *(f"     {name:<12} {path}" for name, path in report.paths.items()),
        ],
        as_json=as_json,
    )
    if not report.ok:
        context.exit(Exit.NOT_WELL)
