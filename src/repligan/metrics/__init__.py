"""Distances, shares and scores: features or points -> statistics, without any files."""
