"""The standard Inception-v3, for distances that compare with published ones; the only user of torch-fidelity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from repligan.core.files import usable

LAYER = "2048"


class Inception(nn.Module):
    """Inception-v3 as trained for TensorFlow's FID, with its own resizing to 299 x 299 (Heusel et al. 2017)."""

    def __init__(self, weights: Path, device: torch.device):
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        super().__init__()
        with usable(weights):
            net = FeatureExtractorInceptionV3("inception", [LAYER, "logits_unbiased"], str(weights))
        self.net, self.device = net.to(device).eval(), device

    def look(self, img: np.ndarray) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """(features [N, 2048], logits [N, 1008]) of uint8 images [N, C, H, W]; grey ones are repeated into RGB."""
        rgb = torch.from_numpy(np.array(img)).to(self.device)
        features, logits = self.net(rgb.expand(-1, 3, -1, -1) if rgb.shape[1] == 1 else rgb)
        return features, (logits,)
