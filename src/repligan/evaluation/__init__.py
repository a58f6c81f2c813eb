"""Weights -> statistics per seed and step -> values with intervals."""
