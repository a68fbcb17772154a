"""A synthetic practice of any size: names as unequal as real ones, sealed and indexed like any patient."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import date, timedelta
from operator import itemgetter
from uuid import UUID

from sqlalchemy import Connection, Table, insert

from kms.keys import KeyService, KeyUse, Secret
from vault.model import Identity, PatientId, PersonId, ScopeId, ScopeKind, Sex, TenantId
from vault.records.patients.patient_rows import ACTIVE, seal_identity
from vault.sealing.binding import scope_context
from vault.sealing.index import BlindIndex, Token, tokens
from vault.storage.db import Database
from vault.storage.schema import patient_index, patients, scopes

_COMMON = """
Martin Bernard Thomas Petit Robert Richard Durand Dubois Moreau Laurent Simon Michel Lefebvre Leroy Roux David
Bertrand Morel Fournier Girard Bonnet Dupont Lambert Fontaine Rousseau Vincent Muller Lefèvre Faure André
Mercier Blanc Guérin Boyer Garnier Chevalier François Legrand Gauthier Garcia Perrin Robin Clément Morin
Nicolas Henry Roussel Mathieu Gautier Masson
"""
_GIVEN = """
Marie Jean Pierre Michel André Philippe Nathalie Isabelle Alain Catherine Jacques Monique Sylvie Nicolas
Daniel Christophe Patrick Laurent Françoise Christine Julien Sandrine Stéphanie Valérie Céline Léa Emma Louis
Gabriel Jules Chloé Manon Camille Lucas Hugo Inès Jade Louise Alice Zoé Claire Anne Paul Thomas Antoine Élodie
Aurélie Mathilde Sarah Mohamed Yasmine Noé
"""
_PARTS = """
ba be bi bo bou bra bri car cha che co cor da de du dro fa fe fi fon ga gar ger gue gui ha hu ja jo ju la le
li lo lu ma mar me mi mon na ne no pa pe per pi ra re ri ro rou sa se si so ta te ti to tri va ve vi vin
"""
COMMON, GIVEN, _SYLLABLES = _COMMON.split(), _GIVEN.split(), _PARTS.split()
BATCH = 5_000


def _weights(count: int) -> list[float]:
    """Zipf's law, flattened as French surnames are: the commonest is borne by about four people in a thousand."""
    return list(itertools.accumulate(1 / (rank + 20) for rank in range(count)))


def surnames(count: int) -> list[str]:
    """``count`` surnames, the commonest first: real common ones, then invented ones."""
    dice = random.Random(0)
    made = dict.fromkeys(COMMON)
    while len(made) < count:
        made["".join(dice.choices(_SYLLABLES, k=dice.choice((2, 3, 3, 4)))).capitalize()] = None
    return list(made)


def people(count: int, seed: int = 1) -> Iterator[Identity]:
    """``count`` identities, always the same for one seed."""
    dice = random.Random(seed)
    names, given = surnames(20_000), list(GIVEN)
    name_weights, given_weights = _weights(len(names)), _weights(len(given))
    for _ in range(count):
        name = dice.choices(names, cum_weights=name_weights)[0]
        firsts = dice.choices(given, cum_weights=given_weights, k=2)
        born = date(1930, 1, 1) + timedelta(days=dice.randrange(35_000))
        used = dice.choices(names, cum_weights=name_weights)[0] if dice.random() < 0.25 else None
        yield Identity(
            name, tuple(dict.fromkeys(firsts)), born.isoformat(), dice.choice((Sex.FEMALE, Sex.MALE)), used_name=used
        )


def add_rows(db: Database, table: Table, rows: list[dict[str, object]]) -> None:
    """Insert many rows durably."""

    def work(connection: Connection) -> None:
        connection.execute(insert(table), rows)

    db.write(work)


def settle(db: Database, keyring_db: Database, keys: KeyService, tenant: TenantId, *, creator: PersonId, count: int) -> None:
    """Put ``count`` patients into an empty vault, each under their own key, as ``Patients.create`` would, in large batches."""
    dice = random.Random(2)
    index, known = BlindIndex(keys, tenant), dict[Token, bytes]()
    everybody = people(count)
    while group := list(itertools.islice(everybody, BATCH)):
        patient_rows: list[dict[str, object]] = []
        index_rows: list[dict[str, object]] = []
        scope_rows: list[dict[str, object]] = []
        wanted = dict.fromkeys(token for identity in group for token in tokens(identity) if token not in known)
        known |= index.values(wanted)
        for identity in group:
            patient, scope = (UUID(int=dice.getrandbits(128), version=4).hex for _ in range(2))
            with Secret(dice.randbytes(32)) as key:
                wrapped = keys.wrap(key.view, context=scope_context(tenant, ScopeId(scope)))
                sealed = seal_identity(key, tenant, PatientId(patient), identity)
            row = {
                "id": scope,
                "kind": ScopeKind.PATIENT.value,
                "wrapped": wrapped,
                "master": keys.number_of(wrapped),
                "created_at": 0,
            }
            scope_rows.append(row)
            patient_rows.append(
                {
                    "id": patient,
                    "scope": scope,
                    "identity_sealed": sealed,
                    "state": ACTIVE,
                    "created_at": 0,
                    "created_by": creator,
                    "mac": keys.active(KeyUse.MAC),
                }
            )
            index_rows += [{"value": known[token], "patient": patient} for token in tokens(identity)]
        add_rows(keyring_db, scopes, scope_rows)
        add_rows(db, patients, patient_rows)
        add_rows(db, patient_index, sorted(index_rows, key=itemgetter("value")))
