"""Real data: fetched, drawn, laid out, in batches."""
