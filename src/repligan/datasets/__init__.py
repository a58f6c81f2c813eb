"""Real data: sources -> raw files -> arrays -> batches."""
