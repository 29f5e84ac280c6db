"""API keys, and owners. What was there before belongs to everybody (the owner '')"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_OWNED = ("jobs", "encoders", "datasets")
_SHARED = ("jobs", "encoders")


def _owner() -> sa.Column:
    return sa.Column("owner", sa.String(length=64), nullable=False, server_default="")


def _aliases(*, owned: bool) -> list[sa.schema.SchemaItem]:
    columns = [
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("encoder_id", sa.String(length=32), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["encoder_id"], ["encoders.id"]),
    ]
    return (
        [_owner(), *columns, sa.PrimaryKeyConstraint("owner", "name")] if owned else [*columns, sa.PrimaryKeyConstraint("name")]
    )


def _idempotency(*, owned: bool) -> list[sa.schema.SchemaItem]:
    columns = [
        sa.Column("scope", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("made_id", sa.String(length=32), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
    ]
    if owned:
        return [_owner(), *columns, sa.PrimaryKeyConstraint("owner", "scope", "key")]
    return [*columns, sa.PrimaryKeyConstraint("scope", "key")]


def _replaced(table: str, columns: list[sa.schema.SchemaItem], kept: str, only: str = "") -> None:
    """A table with another primary key, and the rows of the one before."""
    op.rename_table(table, f"{table}_before")
    op.create_table(table, *columns)
    op.execute(f"INSERT INTO {table} ({kept}) SELECT {kept} FROM {table}_before {only}")
    op.drop_table(f"{table}_before")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("shown", sa.String(length=20), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    for table in _OWNED:
        # In place: a batch would make the table anew, which rows of others that refer to it do not allow.
        op.add_column(table, _owner())
        if table in _SHARED:
            op.add_column(table, sa.Column("shared", sa.Boolean(), nullable=False, server_default=sa.false()))
        op.create_index(f"ix_{table}_owner", table, ["owner", "id"], unique=False)
    op.add_column("jobs", sa.Column("requested_by", sa.String(length=64), nullable=True))
    _replaced("aliases", _aliases(owned=True), "name, encoder_id, updated_ms")
    _replaced("idempotency_keys", _idempotency(owned=True), "scope, key, request_hash, made_id, created_ms")


def downgrade() -> None:
    _replaced("idempotency_keys", _idempotency(owned=False), "scope, key, request_hash, made_id, created_ms", "WHERE owner = ''")
    _replaced("aliases", _aliases(owned=False), "name, encoder_id, updated_ms", "WHERE owner = ''")
    op.drop_column("jobs", "requested_by")
    for table in _OWNED:
        op.drop_index(f"ix_{table}_owner", table)
        if table in _SHARED:
            op.drop_column(table, "shared")
        op.drop_column(table, "owner")
    op.drop_table("api_keys")
