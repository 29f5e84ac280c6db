"""Indexes for long queues: how many jobs an owner has there, and which were not woken for a while"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_queue", "jobs", ["owner", "status", "id"], unique=False)
    op.create_index("ix_jobs_woken", "jobs", ["status", "woken_ms"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_jobs_woken", "jobs")
    op.drop_index("ix_jobs_queue", "jobs")
