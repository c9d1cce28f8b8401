"""What an earlier run left in the dataset that looks raw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from n2a_bids.dataset.write.raw_like.names import DENOISED_FROM, outdated_raw_like, raw_like_path

RUNS = [f"sub-01/dwi/sub-01_run-{run}_dwi.nii.gz" for run in "123"]


def _write(root: Path, sources: list[str], **entities: str) -> None:
    image = raw_like_path(root, {"sub": "01", **entities}, "dwi")
    image.parent.mkdir(parents=True, exist_ok=True)
    image.with_name(image.name.replace(".nii.gz", ".json")).write_text(json.dumps({DENOISED_FROM: sources}))


@pytest.mark.parametrize(
    ("now", "made_of", "outdated"),
    [
        # Two runs were one series, and are denoised in place now.
        ({"run": "1"}, RUNS[:1], {"sub-01_rec-n2a"}),
        # One was denoised in place, and the two are one series now.
        ({}, RUNS[:2], {"sub-01_rec-n2a_run-1"}),
        # The third run has nothing to do with the others.
        ({"run": "3"}, RUNS[2:], set()),
    ],
)
def test_what_was_made_of_the_same_images_under_other_names_is_outdated(tmp_path, now, made_of, outdated):
    """With tables and sidecar; what is written now, and what others were made of, is not."""
    root, bids = tmp_path / "rawlike", tmp_path / "bids"
    _write(root, RUNS[:2])
    _write(root, RUNS[:1], run="1")
    _write(root, [], run="2")
    (root / "sub-01/dwi/sub-01_run-9_dwi.json").write_text("no JSON")
    target = raw_like_path(root, {"sub": "01", **now}, "dwi")
    found = outdated_raw_like(root, bids, [bids / path for path in made_of], [target])
    ends = (".nii.gz", ".bval", ".bvec", ".json")
    assert {path.name for path in found} == {f"{stem}_dwi{end}" for stem in outdated for end in ends}
