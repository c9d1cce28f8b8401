"""Steps whose files are gone from the work directory, or from the dataset, run again."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import nibabel as nb
import numpy as np
from nipype import MapNode, Node
from nipype import config as nipype_config
from nipype.interfaces.base import CommandLine, SimpleInterface

import n2a_bids.interfaces
from n2a_bids.app.nipype_settings import configure_nipype
from n2a_bids.config import DebugConfig
from n2a_bids.interfaces.anat.mask import BrainMask, NetworkBrainMask
from n2a_bids.interfaces.gaps import FindGaps
from n2a_bids.interfaces.resumable import HashedNames, Resumable


def find_gaps(images: list[Path], work: Path) -> list[Path]:
    """Run the node, or take what an earlier run has left; returns the images that it passes on."""
    configure_nipype(DebugConfig())
    node = Node(FindGaps(in_files=[str(path) for path in images]), name="gaps", base_dir=str(work))
    return [Path(path) for path in node.run().outputs.out_files]


def test_a_step_follows_a_dataset_that_was_moved(tmp_path, noisy_runs, affine):
    """Its images are the same by their content, but what it passed on is not there any more."""
    image = tmp_path / "before" / "sub-01_run-1_T1w.nii.gz"
    image.parent.mkdir()
    nb.Nifti1Image(noisy_runs(1)[0].astype(np.float32), affine).to_filename(image)
    assert find_gaps([image], tmp_path / "work") == [image]
    image.parent.rename(tmp_path / "after")
    moved = tmp_path / "after" / image.name
    assert find_gaps([moved], tmp_path / "work") == [moved]


def test_a_step_makes_its_files_again(tmp_path, noisy_runs, affine):
    """Scratch disks are cleared of files that are old."""
    head = noisy_runs(1)[0].astype(np.float32)
    head[:, 30:, :16] = np.nan
    image = tmp_path / "sub-01_run-1_T1w.nii.gz"
    nb.Nifti1Image(head, affine).to_filename(image)
    (made,) = find_gaps([image], tmp_path / "work")
    assert made.is_relative_to(tmp_path / "work")
    made.unlink()
    assert find_gaps([image], tmp_path / "work") == [made] and made.is_file()


def test_a_step_follows_an_image_that_was_renamed(tmp_path, noisy_runs, affine):
    """What was made of it would be taken for another run: records and warnings tell its name."""
    head = noisy_runs(1)[0].astype(np.float32)
    head[:, 30:, :16] = np.nan
    image = tmp_path / "sub-01_run-2_T1w.nii.gz"
    nb.Nifti1Image(head, affine).to_filename(image)
    assert [path.name for path in find_gaps([image], tmp_path / "work")] == [image.name]
    renamed = image.rename(tmp_path / "sub-01_run-3_T1w.nii.gz")
    assert [path.name for path in find_gaps([renamed], tmp_path / "work")] == [renamed.name]


def test_another_method_is_not_taken_for_finished(tmp_path):
    """Both take one head and have nodes of one name: a resumed run would keep the mask of the other."""
    configure_nipype(DebugConfig())
    image = tmp_path / "sub-01_T1w.nii.gz"
    nb.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)).to_filename(image)
    nodes = [
        MapNode(step(), "in_file", name="brain", base_dir=str(tmp_path))
        for step in (BrainMask, NetworkBrainMask, BrainMask)
    ]
    for node in nodes:
        node.config = nipype_config._sections
        node.inputs.in_file = [str(image)]
    first, other, again = (node._get_hashval()[1] for node in nodes)
    assert first == again != other


def test_what_a_step_was_given_is_listed_with_whole_paths(tmp_path):
    """`n2a-tools benchmark --unseen` reads the list that nipype keeps beside the results."""
    image = tmp_path / "sub-01_T1w.nii.gz"
    nb.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)).to_filename(image)
    listed, _ = BrainMask(in_file=str(image)).inputs.get_hashval(hash_method="content")
    path, check_sum = dict(listed)["in_file"]
    assert path == str(image) and len(check_sum) == 32


def test_all_steps_are_resumable():
    """One that is not would leave a resumed run without its outputs, or with those of files renamed since."""
    names = [one.name for one in pkgutil.walk_packages(n2a_bids.interfaces.__path__, "n2a_bids.interfaces.")]
    found = {
        one
        for module in map(importlib.import_module, names)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, SimpleInterface | CommandLine)
    }
    ours = {one for one in found if one.__module__.startswith("n2a_bids")}
    assert len(ours) > 30
    assert not [one.__name__ for one in ours if not issubclass(one, Resumable)]
    specs = {one.input_spec for one in ours if one.input_spec}
    assert not [one.__name__ for one in specs if not issubclass(one, HashedNames)]
