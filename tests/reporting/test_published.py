from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from outputs import make
from PIL import Image

from repligan.core.errors import InputError
from repligan.core.files import write_json
from repligan.reporting import published


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What two scales published."""
    claims = make(tmp_path).reports / "claims.json"
    for scale in ("full", "overnight"):
        pictures = tmp_path / "published" / scale / "pictures"
        pictures.mkdir(parents=True)
        (pictures.parent / "claims.json").write_bytes(claims.read_bytes())
        Image.fromarray(np.full((4, 6), 7, np.uint8)).save(pictures / "toy.png")
    return tmp_path / "published"


def test_all_other_scales_are_read_the_smallest_first(folder: Path) -> None:
    (folder / "full" / "claims.json").write_text((folder / "full" / "claims.json").read_text().replace("tiny", "full"))
    found = published.read(folder, "laptop")
    assert [one.claims.scale for one in found] == ["tiny", "full"]
    assert found[0].pictures["toy"].tolist() == np.full((4, 6), 7).tolist()
    assert len(published.read(folder, "overnight")) == 1
    assert published.read(folder / "none", "laptop") == []


def test_a_damaged_folder_is_named(folder: Path) -> None:
    (folder / "overnight" / "pictures" / "toy.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"toy\.png: damaged"):
        published.read(folder, "laptop")
    write_json(folder / "full" / "claims.json", {"scale": "full"})
    with pytest.raises(InputError, match=r"full/claims\.json: damaged"):
        published.read(folder, "overnight")
    (folder / "full" / "claims.json").unlink()
    with pytest.raises(InputError, match=r"claims\.json: not found"):
        published.read(folder, "overnight")
