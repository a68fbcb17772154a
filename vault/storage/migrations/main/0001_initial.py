"""Every table of the main database, as first released."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:  # noqa: PLR0915  # one statement for each table and index
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("is_kept", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_checkpoints")),
    )
    op.create_table(
        "audit_counters",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_audit_counters")),
    )
    op.create_table(
        "audit_entries",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("actor_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("subject_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("client_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("note_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("actor_index", sa.LargeBinary(), nullable=True),
        sa.Column("patient_index", sa.LargeBinary(), nullable=True),
        sa.Column("document_index", sa.LargeBinary(), nullable=True),
        sa.Column("person_index", sa.LargeBinary(), nullable=True),
        sa.Column("flags", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_audit_entries")),
    )
    op.create_index(op.f("ix_audit_entries_action_position"), "audit_entries", ["action", "position"], unique=False)
    op.create_index(
        op.f("ix_audit_entries_actor_index_position"),
        "audit_entries",
        ["actor_index", "position"],
        unique=False,
        sqlite_where=sa.text("actor_index IS NOT NULL"),
        postgresql_where=sa.text("actor_index IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_audit_entries_document_index_position"),
        "audit_entries",
        ["document_index", "position"],
        unique=False,
        sqlite_where=sa.text("document_index IS NOT NULL"),
        postgresql_where=sa.text("document_index IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_audit_entries_patient_index_position"),
        "audit_entries",
        ["patient_index", "position"],
        unique=False,
        sqlite_where=sa.text("patient_index IS NOT NULL"),
        postgresql_where=sa.text("patient_index IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_audit_entries_person_index_position"),
        "audit_entries",
        ["person_index", "position"],
        unique=False,
        sqlite_where=sa.text("person_index IS NOT NULL"),
        postgresql_where=sa.text("person_index IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_audit_entries_position_flags"),
        "audit_entries",
        ["position", "flags"],
        unique=False,
        sqlite_where=sa.text("flags != 0"),
        postgresql_where=sa.text("flags != 0"),
    )
    op.create_index(
        "ix_audit_entries_refusals",
        "audit_entries",
        ["position"],
        unique=False,
        sqlite_where=sa.text("outcome IN ('denied', 'failed')"),
        postgresql_where=sa.text("outcome IN ('denied', 'failed')"),
    )
    op.create_table(
        "audit_runs",
        sa.Column("run", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=64), nullable=False),
        sa.Column("process", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_audit_runs")),
    )
    op.create_table(
        "audit_tiles",
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_audit_tiles")),
    )
    op.create_table(
        "failures",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("locked_until", sa.BigInteger(), nullable=True),
        sa.Column("locks", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_failures")),
    )
    op.create_table(
        "installation",
        sa.Column("tenant", sa.String(length=32), nullable=False),
        sa.Column("system_scope", sa.String(length=32), nullable=False),
        sa.Column("log_scope", sa.String(length=32), nullable=False),
        sa.Column("inbox_scope", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_installation")),
    )
    op.create_table(
        "patrols",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("document", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("checked", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("holder", sa.String(length=32), nullable=False),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_patrols")),
    )
    op.create_table(
        "people",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("username", sa.String(length=128), nullable=False),
        sa.Column("username_key", sa.String(length=256), nullable=False),
        sa.Column("display_name_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("email_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("password_changed_at", sa.BigInteger(), nullable=True),
        sa.Column("totp_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("totp_next_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("totp_confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("totp_step", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=32), nullable=True),
        sa.Column("signed_in_at", sa.BigInteger(), nullable=True),
        sa.Column("reviewed_at", sa.BigInteger(), nullable=True),
        sa.Column("warned_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
        sa.UniqueConstraint("username_key", name=op.f("uq_people_username_key")),
    )
    op.create_table(
        "practice",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_practice")),
    )
    op.create_table(
        "scrubs",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("document", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_keyless", sa.Integer(), nullable=False),
        sa.Column("checked", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_scrubs")),
    )
    op.create_table(
        "familiar",
        sa.Column("mark", sa.LargeBinary(), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_familiar_person")),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_familiar")),
    )
    op.create_index(op.f("ix_familiar_person"), "familiar", ["person"], unique=False)
    op.create_table(
        "links",
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=32), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_links_person")),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_links")),
    )
    op.create_index(op.f("ix_links_person"), "links", ["person"], unique=False)
    op.create_table(
        "locum_windows",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("locum", sa.String(length=32), nullable=False),
        sa.Column("replaces", sa.String(length=32), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("set_by", sa.String(length=32), nullable=True),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["locum"], ["people.id"], name=op.f("fk_locum_windows_locum")),
        sa.ForeignKeyConstraint(["replaces"], ["people.id"], name=op.f("fk_locum_windows_replaces")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_locum_windows")),
    )
    op.create_index(op.f("ix_locum_windows_locum"), "locum_windows", ["locum"], unique=False)
    op.create_table(
        "notices",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("about", sa.String(length=32), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=True),
        sa.Column("mailed_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_notices_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index(op.f("ix_notices_mailed_at"), "notices", ["mailed_at"], unique=False)
    op.create_index(op.f("ix_notices_person_at"), "notices", ["person", "at"], unique=False)
    op.create_table(
        "passkeys",
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("name_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_passkeys_person")),
        sa.PrimaryKeyConstraint("credential", name=op.f("pk_passkeys")),
    )
    op.create_index(op.f("ix_passkeys_person"), "passkeys", ["person"], unique=False)
    op.create_table(
        "patients",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("scope", sa.String(length=32), nullable=False),
        sa.Column("identity_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=32), nullable=False),
        sa.Column("merged_into", sa.String(length=32), nullable=True),
        sa.Column("merged_since", sa.BigInteger(), nullable=True),
        sa.Column("mac", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["created_by"], ["people.id"], name=op.f("fk_patients_created_by")),
        sa.ForeignKeyConstraint(["merged_into"], ["patients.id"], name=op.f("fk_patients_merged_into")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patients")),
        sa.UniqueConstraint("scope", name=op.f("uq_patients_scope")),
    )
    op.create_index(op.f("ix_patients_mac"), "patients", ["mac"], unique=False)
    op.create_index(
        op.f("ix_patients_merged_into"),
        "patients",
        ["merged_into"],
        unique=False,
        sqlite_where=sa.text("merged_into IS NOT NULL"),
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_recovery_codes_person")),
        sa.PrimaryKeyConstraint("person", "code_hash", name=op.f("pk_recovery_codes")),
    )
    op.create_table(
        "resets",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("requested_by", sa.String(length=32), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_by", sa.String(length=32), nullable=True),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_resets_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resets")),
    )
    op.create_index(op.f("ix_resets_state"), "resets", ["state"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("id_hash", sa.LargeBinary(), nullable=False),
        sa.Column("reference", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("methods", sa.String(length=64), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("factor_at", sa.BigInteger(), nullable=True),
        sa.Column("client_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("challenge", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_sessions_person")),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_person"), "sessions", ["person"], unique=False)
    op.create_table(
        "breakglass",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("reason_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("reviewed_by", sa.String(length=32), nullable=True),
        sa.Column("reviewed_at", sa.BigInteger(), nullable=True),
        sa.Column("escalated_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name=op.f("fk_breakglass_patient")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_breakglass_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_breakglass")),
    )
    op.create_index(op.f("ix_breakglass_patient_person"), "breakglass", ["patient", "person"], unique=False)
    op.create_index(op.f("ix_breakglass_verdict"), "breakglass", ["verdict"], unique=False)
    op.create_table(
        "care_team",
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name=op.f("fk_care_team_patient")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_care_team_person")),
        sa.PrimaryKeyConstraint("patient", "person", name=op.f("pk_care_team")),
    )
    op.create_index(op.f("ix_care_team_person"), "care_team", ["person"], unique=False)
    op.create_table(
        "documents",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("patient", sa.String(length=32), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("deposited_at", sa.BigInteger(), nullable=False),
        sa.Column("deposited_by", sa.String(length=32), nullable=False),
        sa.Column("integrated_at", sa.BigInteger(), nullable=True),
        sa.Column("integrated_by", sa.String(length=32), nullable=True),
        sa.Column("is_handover", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_urgent", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["deposited_by"], ["people.id"], name=op.f("fk_documents_deposited_by")),
        sa.ForeignKeyConstraint(["integrated_by"], ["people.id"], name=op.f("fk_documents_integrated_by")),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name=op.f("fk_documents_patient")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
    )
    op.create_index(op.f("ix_documents_patient_deposited_at"), "documents", ["patient", "deposited_at"], unique=False)
    op.create_index(op.f("ix_documents_state_deposited_at"), "documents", ["state", "deposited_at"], unique=False)
    op.create_table(
        "grants",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("granted_by", sa.String(length=32), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name=op.f("fk_grants_patient")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_grants_person")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
    )
    op.create_index(op.f("ix_grants_patient_person"), "grants", ["patient", "person"], unique=False)
    op.create_table(
        "merges",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kept", sa.String(length=32), nullable=False),
        sa.Column("absorbed", sa.String(length=32), nullable=False),
        sa.Column("merged_at", sa.BigInteger(), nullable=False),
        sa.Column("merged_by", sa.String(length=32), nullable=False),
        sa.Column("undone_at", sa.BigInteger(), nullable=True),
        sa.Column("undone_by", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["absorbed"], ["patients.id"], name=op.f("fk_merges_absorbed")),
        sa.ForeignKeyConstraint(["kept"], ["patients.id"], name=op.f("fk_merges_kept")),
        sa.ForeignKeyConstraint(["merged_by"], ["people.id"], name=op.f("fk_merges_merged_by")),
        sa.ForeignKeyConstraint(["undone_by"], ["people.id"], name=op.f("fk_merges_undone_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merges")),
    )
    op.create_index(op.f("ix_merges_absorbed"), "merges", ["absorbed"], unique=False)
    op.create_index(op.f("ix_merges_kept"), "merges", ["kept"], unique=False)
    op.create_table(
        "objections",
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("recorded_by", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name=op.f("fk_objections_patient")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_objections_person")),
        sa.PrimaryKeyConstraint("patient", "person", name=op.f("pk_objections")),
    )
    op.create_table(
        "patient_index",
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name=op.f("fk_patient_index_patient")),
        sa.PrimaryKeyConstraint("value", "patient", name=op.f("pk_patient_index")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_patient_index_patient"), "patient_index", ["patient"], unique=False)
    op.create_table(
        "restrictions",
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("person", sa.String(length=32), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("set_by", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name=op.f("fk_restrictions_patient")),
        sa.ForeignKeyConstraint(["person"], ["people.id"], name=op.f("fk_restrictions_person")),
        sa.PrimaryKeyConstraint("patient", "person", name=op.f("pk_restrictions")),
    )
    op.create_table(
        "suspected_doubles",
        sa.Column("one", sa.String(length=32), nullable=False),
        sa.Column("other", sa.String(length=32), nullable=False),
        sa.Column("found_at", sa.BigInteger(), nullable=False),
        sa.Column("dismissed_at", sa.BigInteger(), nullable=True),
        sa.Column("dismissed_by", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["dismissed_by"], ["people.id"], name=op.f("fk_suspected_doubles_dismissed_by")),
        sa.ForeignKeyConstraint(["one"], ["patients.id"], name=op.f("fk_suspected_doubles_one")),
        sa.ForeignKeyConstraint(["other"], ["patients.id"], name=op.f("fk_suspected_doubles_other")),
        sa.PrimaryKeyConstraint("one", "other", name=op.f("pk_suspected_doubles")),
    )
    op.create_index(
        op.f("ix_suspected_doubles_dismissed_at_found_at"), "suspected_doubles", ["dismissed_at", "found_at"], unique=False
    )
    op.create_index(op.f("ix_suspected_doubles_other"), "suspected_doubles", ["other"], unique=False)
    op.create_table(
        "document_versions",
        sa.Column("document", sa.String(length=32), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("blob", sa.String(length=32), nullable=False),
        sa.Column("scope", sa.String(length=32), nullable=False),
        sa.Column("data_key_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("description_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sealed_size", sa.BigInteger(), nullable=False),
        sa.Column("sealed_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("mac", sa.Integer(), nullable=False),
        sa.Column("deposited_at", sa.BigInteger(), nullable=False),
        sa.Column("deposited_by", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["deposited_by"], ["people.id"], name=op.f("fk_document_versions_deposited_by")),
        sa.ForeignKeyConstraint(["document"], ["documents.id"], name=op.f("fk_document_versions_document")),
        sa.PrimaryKeyConstraint("document", "version", name=op.f("pk_document_versions")),
        sa.UniqueConstraint("blob", name=op.f("uq_document_versions_blob")),
    )
    op.create_index(op.f("ix_document_versions_fingerprint"), "document_versions", ["fingerprint"], unique=False)
    op.create_index(op.f("ix_document_versions_mac"), "document_versions", ["mac"], unique=False)
    op.create_table(
        "tombstones",
        sa.Column("document", sa.String(length=32), nullable=False),
        sa.Column("patient", sa.String(length=32), nullable=False),
        sa.Column("moved_at", sa.BigInteger(), nullable=False),
        sa.Column("moved_by", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["document"], ["documents.id"], name=op.f("fk_tombstones_document")),
        sa.ForeignKeyConstraint(["moved_by"], ["people.id"], name=op.f("fk_tombstones_moved_by")),
        sa.ForeignKeyConstraint(["patient"], ["patients.id"], name=op.f("fk_tombstones_patient")),
        sa.PrimaryKeyConstraint("patient", "document", "moved_at", name=op.f("pk_tombstones")),
    )
