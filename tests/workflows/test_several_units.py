"""Several groups of T1w images in one session: every file keeps the entities of its group."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from n2a_bids.app.batch import run_batch
from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import Config, DenoiseConfig, OutputConfig, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.names import parse_name
from n2a_bids.interfaces.derivatives.sink import WriteDerivatives
from n2a_bids.reports.records.units import find_units
from n2a_bids.system.signals import Interruption
from n2a_bids.workflows.participant import init_participant_wf

pytestmark = pytest.mark.slow

GROUPS = (
    "run-1 run-2",
    "acq-hi_run-1 acq-hi_run-2",
    "acq-hi_rec-norm_run-1 acq-hi_rec-norm_run-2",
    "acq-hi+lo_run-1 acq-hi+lo_run-2",
    "rec-norm_run-1 rec-norm_run-2",
    "ce-gad_run-1 ce-gad_run-2",
    "acq-me_echo-1 acq-me_echo-2",
    "acq-two_run-1_echo-1 acq-two_run-2_echo-1",
    "acq-two_run-1_echo-2 acq-two_run-2_echo-2",
)
"""Images of one session that belong together, by what is in their names beside participant and session."""


def config_of(bids: Path, tmp_path: Path, **changes) -> Config:
    return Config(
        bids, tmp_path / "out", tmp_path / "work", "uuid",
        selection=SelectionConfig(participants=("01",), modalities=("T1w",)),
        denoise=DenoiseConfig(strategy="mean"), **changes,
    )  # fmt: skip


@pytest.mark.parametrize("strategy", ["mean", "auto"])
def test_no_two_groups_write_to_one_name(make_bids, tmp_path, strategy):
    """In two sessions each: derivatives, transforms, figures, preproc and raw-like images."""
    stems = [f"ses-{session}_{name}" for session in "ab" for group in GROUPS for name in group.split()]
    bids = make_bids({f"sub-01/{stem[:5]}/anat/sub-01_{stem}_T1w.nii.gz": None for stem in stems})
    outputs = OutputConfig(fmriprep_derivatives=True, raw_like_dir=tmp_path / "rawlike")
    config = config_of(bids, tmp_path, outputs=outputs)
    config = replace(config, denoise=DenoiseConfig(strategy=strategy))
    units = collect(bids, config.selection).units
    assert len(units) == 2 * len(GROUPS)
    workflow = init_participant_wf("01", units, config)
    owners = {unit.workflow_name: unit for unit in units}
    assert len(owners) == len(units)

    written: dict[str, str] = {}
    for name in workflow.list_node_names():
        node, owner = workflow.get_node(name), name.split(".")[0]
        for target in targets_of(node):
            assert written.setdefault(target, owner) == owner, target
            kept = {**owners[owner].entities}
            if name.endswith("write_preproc"):
                kept = {key: kept[key] for key in ("sub", "ses")}
            elif str(tmp_path / "rawlike") in target:
                kept["rec"] = kept.get("rec", "") + "n2a"
            assert kept.items() <= parse_name(Path(target))[0].items(), target
    assert sum("desc-brain_mask" in target for target in written) == len(units)
    assert sum("desc-preproc_T1w" in target for target in written) == 2


def targets_of(node) -> list[str]:
    """Files that a node writes."""
    if isinstance(node.interface, WriteDerivatives):
        return [path for paths in node.inputs.targets.values() for path in paths]
    return []


def test_two_acquisitions_of_one_session_are_both_written(make_bids, noisy_runs, head, affine, tmp_path):
    """A whole run: each acquisition has its own image, mask, sources and page section."""
    runs = noisy_runs(n=4)
    names = [f"sub-01_acq-{acquisition}_run-{run}_T1w" for acquisition in ("a", "b") for run in (1, 2)]
    gains = (1, 1, 3, 3)
    bids = make_bids(
        {
            f"sub-01/anat/{name}.nii.gz": gain * image
            for name, gain, image in zip(names, gains, runs, strict=True)
        }
    )
    masks = tmp_path / "masks" / "sub-01" / "anat"
    masks.mkdir(parents=True)
    small = head[1] & (np.arange(head[1].shape[2]) < 20)
    for acquisition, mask in (("a", head[1]), ("b", small)):
        image = nb.Nifti1Image(mask.astype(np.uint8), affine)
        image.to_filename(masks / f"sub-01_acq-{acquisition}_desc-brain_mask.nii.gz")
    config = config_of(bids, tmp_path, derivatives={"masks": tmp_path / "masks"})
    work = ParticipantWork("01", collect(bids, config.selection).units, ())
    assert run_batch([work], config, Interruption()) == {"01": []}

    anat = config.output_dir / "sub-01" / "anat"
    levels, volumes = [], []
    for acquisition in ("a", "b"):
        stem = f"sub-01_acq-{acquisition}"
        levels.append(nb.load(anat / f"{stem}_desc-denoised_T1w.nii.gz").get_fdata()[small].mean())
        volumes.append(np.count_nonzero(nb.load(anat / f"{stem}_desc-brain_mask.nii.gz").get_fdata()))
        sidecar = json.loads((anat / f"{stem}_desc-denoised_T1w.json").read_text())
        assert sidecar["Sources"] == [f"bids:raw:sub-01/anat/{stem}_run-{run}_T1w.nii.gz" for run in (1, 2)]
    assert levels[1] / levels[0] == pytest.approx(3, rel=0.05)
    assert volumes == [np.count_nonzero(head[1]), np.count_nonzero(small)]
    assert not list(anat.glob("sub-01_desc-*"))
    assert [unit.label for unit in find_units(config.output_dir, "01")] == [
        "sub-01_acq-a_T1w", "sub-01_acq-b_T1w"
    ]  # fmt: skip
