"""Indexes for rare kinds among many jobs, and for pages and curves of long jobs"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_jobs_kind", "jobs", ["kind", "id"], unique=False)
    op.create_index("ix_metrics_steps", "metrics", ["job_id", "step", "name"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_metrics_steps", "metrics")
    op.drop_index("ix_jobs_kind", "jobs")
