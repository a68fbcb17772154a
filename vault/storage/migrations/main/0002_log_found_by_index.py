"""Every filter of the access log is answered by an index of its own; alerts are found by their detector."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

PRESENT = "{} IS NOT NULL"
FLAGGED = "flags <> 0"
REFUSALS = "outcome IN ('denied', 'failed')"
INDEXES = {
    ("detector_index",): PRESENT.format("detector_index"),
    ("outcome",): REFUSALS,
    ("actor_index", "action"): PRESENT.format("actor_index"),
    ("flags",): FLAGGED,
    ("actor_index", "flags"): FLAGGED,
    ("actor_index", "outcome"): REFUSALS,
    ("action", "outcome"): REFUSALS,
}


def upgrade() -> None:
    op.add_column("audit_entries", sa.Column("detector_index", sa.LargeBinary(), nullable=True))
    entries = sa.table("audit_entries", sa.column("action", sa.String), sa.column("detector_index", sa.LargeBinary))
    # Which detector it was is sealed: the vault, which has the key, fills it in (vault/audit/review.py).
    op.execute(entries.update().where(entries.c.action == "audit.alert_raised").values(detector_index=b""))
    op.drop_index("ix_audit_entries_position_flags", "audit_entries")
    op.drop_index("ix_audit_entries_refusals", "audit_entries")
    for columns, where in INDEXES.items():
        condition = sa.text(where)
        name = f"ix_audit_entries_by_{'_'.join(columns)}"
        op.create_index(name, "audit_entries", [*columns, "position"], sqlite_where=condition, postgresql_where=condition)
