"""Indexes for long queues and long lists: an owner's jobs in the queue, jobs not woken for a while, what is shared"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_queue", "jobs", ["owner", "status", "id"], unique=False)
    op.create_index("ix_jobs_woken", "jobs", ["status", "woken_ms"], unique=False)
    for table in ("jobs", "encoders"):
        op.create_index(f"ix_{table}_shared", table, ["shared", "id"], unique=False)


def downgrade() -> None:
    for table in ("encoders", "jobs"):
        op.drop_index(f"ix_{table}_shared", table)
    op.drop_index("ix_jobs_woken", "jobs")
    op.drop_index("ix_jobs_queue", "jobs")
