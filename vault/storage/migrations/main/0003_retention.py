"""Until when files are kept, legal holds, and the disposal of what is past its end."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "retention_facts",
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("facts_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("set_by", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name=op.f("fk_retention_facts_patient")),
        sa.ForeignKeyConstraint(["set_by"], ["people.id"], name=op.f("fk_retention_facts_set_by")),
        sa.PrimaryKeyConstraint("patient", name=op.f("pk_retention_facts")),
    )
    op.create_table(
        "legal_holds",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("hold_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("set_by", sa.String(length=32), nullable=False),
        sa.Column("cleared_at", sa.BigInteger(), nullable=True),
        sa.Column("cleared_by", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name=op.f("fk_legal_holds_patient")),
        sa.ForeignKeyConstraint(["set_by"], ["people.id"], name=op.f("fk_legal_holds_set_by")),
        sa.ForeignKeyConstraint(["cleared_by"], ["people.id"], name=op.f("fk_legal_holds_cleared_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_legal_holds")),
    )
    op.create_index(op.f("ix_legal_holds_patient"), "legal_holds", ["patient"], unique=False)
    op.create_table(
        "disposals",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("proposed_by", sa.String(length=32), nullable=False),
        sa.Column("proposed_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.String(length=32), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("rule", sa.String(length=8), nullable=True),
        sa.Column("kept_until", sa.String(length=10), nullable=True),
        sa.Column("documents", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("remains", sa.Text(), server_default="", nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disposals")),
    )
    op.create_index(op.f("ix_disposals_patient"), "disposals", ["patient"], unique=False)
    op.create_index(op.f("ix_disposals_state"), "disposals", ["state"], unique=False)
