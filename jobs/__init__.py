"""What api and worker talk about: job records, the state table, the queue, stored artifacts."""
