"""Networks. Every one maps [S, B, ...] to [S, B, ...] with S seeds; a convolutional one takes S = 1."""
