"""Ratios of speed; see docs/performance.md."""
