"""Enrolled keys, join tokens, secrets, and the append-only audit."""

from __future__ import annotations

from typing import Any

from peewee import (
    BigIntegerField,
    BooleanField,
    CharField,
    CompositeKey,
    DoubleField,
    Model,
    SqliteDatabase,
    TextField,
)

REFUSE = "the audit can only grow"


def up(migrator: Any, db: Any) -> None:
    """Creates the tables, and the triggers that protect the audit."""

    class Table(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class AccessKey(Table):
        key = CharField(64, primary_key=True)
        name = CharField(255)
        role = CharField(32)
        token = CharField(64)
        created_at = DoubleField()
        created_by = TextField()
        revoked_at = DoubleField(null=True)

    class JoinToken(Table):
        digest = CharField(64, primary_key=True)
        role = CharField(32)
        created_at = DoubleField()
        created_by = TextField()
        expires_at = DoubleField()
        used_by = TextField(null=True)

    class Secret(Table):
        project = CharField(255)
        name = CharField(255)
        branches_json = TextField()
        labels_json = TextField()
        file = BooleanField()
        sealed = TextField()
        changed_at = DoubleField()
        changed_by = TextField()

        class Meta:
            primary_key = CompositeKey("project", "name")

    class AuditLine(Table):
        id = BigIntegerField(primary_key=True)
        at = DoubleField()
        actor = TextField()
        role = CharField(32)
        action = TextField()
        subject = TextField()
        detail = TextField()

    db.create_tables([AccessKey, JoinToken, Secret, AuditLine], safe=False)
    for statement in _guard(sqlite=isinstance(db, SqliteDatabase)):
        db.execute_sql(statement)


def _guard(*, sqlite: bool) -> list[str]:
    if sqlite:
        return [
            f"CREATE TRIGGER audit_line_no_{verb} BEFORE {verb} ON audit_line "
            f"BEGIN SELECT RAISE(ABORT, '{REFUSE}'); END"
            for verb in ("update", "delete")
        ]
    return [
        "CREATE FUNCTION audit_line_guard() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION "
        f"'{REFUSE}'; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER audit_line_guard BEFORE UPDATE OR DELETE ON audit_line FOR EACH ROW "
        "EXECUTE FUNCTION audit_line_guard()",
    ]
