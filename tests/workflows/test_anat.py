"""T1w workflows: what is wired to what, and a whole run on a phantom."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from nipype import Workflow
from nipype.interfaces.base import isdefined
from valid_dataset import assert_valid

from n2a_bids.algorithms.quality.mask_checks import dice
from n2a_bids.app.batch import run_batch
from n2a_bids.app.nipype_settings import configure_nipype
from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import (
    AlignConfig,
    Config,
    DebugConfig,
    DenoiseConfig,
    MaskConfig,
    OutputConfig,
    ResourceConfig,
)
from n2a_bids.dataset.units import DenoisingUnit, ImageFile
from n2a_bids.dataset.write.description import write_dataset_files
from n2a_bids.io.images import save_like
from n2a_bids.io.weights import PACKAGED
from n2a_bids.reports.records.units import find_records
from n2a_bids.system.signals import Interruption
from n2a_bids.workflows.anat.align import ALIGNED, init_align_wf
from n2a_bids.workflows.anat.mask import init_mask_wf
from n2a_bids.workflows.anat.reports import INPUTS, init_anat_reports_wf
from n2a_bids.workflows.anat.unit import init_anat_unit_wf
from n2a_bids.workflows.denoise import init_denoise_node
from n2a_bids.workflows.outputs import init_outputs_wf
from n2a_bids.workflows.participant import init_participant_wf


def make_unit(bids: Path, entity: str = "run", labels: tuple[str, ...] = ("1", "2")) -> DenoisingUnit:
    images = tuple(
        ImageFile(
            bids / f"sub-01/anat/sub-01_{entity}-{label}_T1w.nii.gz",
            {"sub": "01", entity: label},
            {"MagneticFieldStrength": 3, "EchoTime": 0.001 * int(label)},
        )
        for label in labels
    )
    kind = "anat-echoes" if entity == "echo" else "anat-repeats"
    return DenoisingUnit(kind, images, {"sub": "01"})


@pytest.fixture
def config(tmp_path) -> Config:
    return Config(
        bids_dir=tmp_path / "bids",
        output_dir=tmp_path / "out",
        work_dir=tmp_path / "work",
        run_uuid="20261121-test",
        denoise=DenoiseConfig(strategy="mean"),
    )


@pytest.fixture
def unit(config) -> DenoisingUnit:
    return make_unit(config.bids_dir)


def assert_wired(workflow: Workflow) -> None:
    """Every connection joins declared fields: nipype does not check those of IdentityInterface."""
    for child in workflow._graph.nodes():
        if isinstance(child, Workflow):
            assert_wired(child)
    flat = workflow._create_flat_graph()
    for source, target, data in flat.edges(data=True):
        for out_field, in_field in data["connect"]:
            name = out_field if isinstance(out_field, str) else out_field[0]
            assert name in source.interface._outputs().copyable_trait_names(), f"{source}.{name}"
            assert in_field in target.inputs.copyable_trait_names(), f"{target}.{in_field}"


def assert_fed(workflow: Workflow) -> None:
    flat = workflow._create_flat_graph()
    for node in flat.nodes():
        fed = {field for _, _, data in flat.in_edges(node, data=True) for _, field in data["connect"]}
        for name in node.interface.inputs.traits(mandatory=True):
            value = getattr(node.interface.inputs, name)
            assert name in fed or isdefined(value), f"{node}.{name}"


@pytest.mark.parametrize(("entities", "takes_first"), [({}, False), ({"echo": "2"}, True)])
def test_runs_of_one_echo_lie_as_those_of_the_others(unit, config, entities, takes_first):
    """Of echoes that were repeated each is a group of its own: noise must not choose their position."""
    wf = init_anat_unit_wf(replace(unit, entities=unit.entities | entities), config)
    assert wf.get_node("align_wf.reference").inputs.takes_first == takes_first


@pytest.mark.parametrize("entity", ["run", "echo"])
def test_unit_wf_is_completely_wired(config, entity):
    """All joints exist on both sides, and every mandatory input is fed or set."""
    config = replace(config, denoise=DenoiseConfig(strategy="auto"))
    workflow = init_anat_unit_wf(make_unit(config.bids_dir, entity), config)
    assert_wired(workflow)
    assert_fed(workflow)


def test_regions_are_measured_where_they_are_asked_for(config):
    """One workflow more, fed by what it needs; noise of echoes is not known place by place."""
    outputs = OutputConfig(regions="Mine:atlas-A")
    asked = replace(config, outputs=outputs, denoise=DenoiseConfig(strategy="auto"))
    alone = replace(make_unit(config.bids_dir, labels=("1",)), kind="anat-single")
    for unit in (alone, make_unit(config.bids_dir)):
        workflow = init_anat_unit_wf(unit, asked)
        assert_wired(workflow)
        assert_fed(workflow)
        assert workflow.get_node("regions_wf.draw_regionalnoise").inputs.single is (unit == alone)
    assert "The atlas Mine:atlas-A was brought" in workflow.visit_desc()
    for unit, own in ((make_unit(config.bids_dir, "echo"), asked), (make_unit(config.bids_dir), config)):
        assert not [name for name in init_anat_unit_wf(unit, own).list_node_names() if "regions" in name]


def test_nodes_that_hold_all_repetitions_ask_for_their_size(config, monkeypatch):
    """Small images get by with what the libraries take; the limit of the user stands."""
    asked = replace(config, outputs=OutputConfig(regions="Mine:atlas-A"))
    small = init_anat_unit_wf(make_unit(config.bids_dir), asked)
    assert small.get_node("regions_wf.measure_regions").mem_gb == 1.5
    monkeypatch.setattr("n2a_bids.workflows.node_memory.held_gb", lambda unit: 0.8)
    large = init_anat_unit_wf(
        make_unit(config.bids_dir), replace(asked, resources=ResourceConfig(memory_gb=5.0))
    )
    assert large.get_node("align_wf.resample").mem_gb == pytest.approx(1.5 + 4 * 0.8)
    assert large.get_node("regions_wf.measure_regions").mem_gb == 5.0


def test_regions_of_an_earlier_run_are_taken_away(unit, config):
    """Numbers of the image that was replaced would stand beside the new one."""
    asked = replace(config, outputs=OutputConfig(regions="Mine:atlas-A"))
    for own, deleted in ((config, True), (asked, False)):
        superseded = init_outputs_wf(unit, own).get_node("write").inputs.superseded
        names = {name for name in (Path(path).name for path in superseded) if "region" in name}
        assert bool(names) is deleted
        assert not names or names == {
            *(f"sub-01_desc-regions_dseg.{kind}" for kind in ("nii.gz", "json", "tsv")),
            *(f"sub-01_desc-regions_stats.{kind}" for kind in ("json", "tsv")),
            *("sub-01_desc-regions_figures.json", "sub-01_desc-regions_T1w.svg"),
            "sub-01_desc-regionalnoise_T1w.svg",
        }


def test_unit_wf_has_its_steps(unit, config):
    """Check, mask, align, denoise, outputs and reports are there under these names."""
    names = set(init_anat_unit_wf(unit, config).list_node_names())
    assert {"check", "mask_wf.brain", "align_wf.register", "align_wf.resample", "denoise"} <= names
    assert {"outputs_wf.describe", "outputs_wf.write", "reports_wf.draw_denoised"} <= names


def test_small_workflows_declare_their_ends(unit, config):
    """Input and output nodes have exactly the fields that their docstrings promise."""
    mask, align = init_mask_wf(MaskConfig()), init_align_wf(AlignConfig())
    assert mask.get_node("inputnode").inputs.copyable_trait_names() == ["in_files"]
    assert mask.get_node("outputnode").outputs.copyable_trait_names() == ["mask_files"]
    assert set(align.get_node("outputnode").outputs.copyable_trait_names()) == set(ALIGNED)
    reports = init_anat_reports_wf(unit, config)
    assert set(reports.get_node("inputnode").inputs.copyable_trait_names()) == {*INPUTS, "uncertainty"}
    outputs = init_outputs_wf(unit, config).get_node("inputnode").inputs.copyable_trait_names()
    assert {"denoised", "mean", "residual", "noise_sd", "mask", "denoising", "alignment"} <= set(outputs)


def test_mask_wf_takes_the_method_that_is_asked_for(tmp_path):
    """A given mask beats the method; a template keeps its name."""
    given = tmp_path / "mask.nii.gz"
    given.touch()
    interfaces = [
        init_mask_wf(MaskConfig(), given=given),
        init_mask_wf(MaskConfig()),
        init_mask_wf(MaskConfig("network")),
        init_mask_wf(MaskConfig("template", "Mine")),
    ]
    names = [type(workflow.get_node("brain").interface).__name__ for workflow in interfaces]
    assert names == ["GivenBrainMask", "BrainMask", "NetworkBrainMask", "TemplateBrainMask"]
    assert interfaces[3].get_node("brain").inputs.template == "Mine"


def test_a_given_mask_is_laid_on_heads_that_moved(tmp_path, head, affine):
    """It lies on the second image: on the first it follows the head, and is not looked for beside it."""
    files = [tmp_path / f"run-{number}.nii.gz" for number in (1, 2)]
    for path, shift in zip(files, (50.0, 0.0), strict=True):
        where = affine.copy()
        where[2, 3] += shift
        nb.Nifti1Image(head[0].astype(np.float32), where).to_filename(path)
    given = save_like(head[1], files[1], tmp_path / "mask.nii.gz", np.uint8)
    wf = init_mask_wf(MaskConfig(), given=given, owner=1)
    wf.base_dir = str(tmp_path)
    wf.inputs.inputnode.in_files = [str(path) for path in files]
    wf.run()
    for number in range(2):
        found = next(tmp_path.glob(f"**/_brain{number}/brain_mask.nii.gz"))
        assert dice(nb.load(found).get_fdata() > 0, head[1]) > 0.95


def test_derivatives_without_a_fitting_mask_are_told(unit, config, tmp_path):
    """Who brings masks should know when none of them was taken; echo times of the runs differ, too."""
    elsewhere = replace(config, derivatives={"masks": tmp_path})
    protocol = ["differ in EchoTime (0.001, 0.002)"]
    for own, warnings in (
        (config, protocol),
        (elsewhere, ["no brain mask in the derivatives masks fits", *protocol]),
    ):
        told = init_anat_unit_wf(unit, own).get_node("outputs_wf.describe").inputs.warnings
        assert len(told) == len(warnings)
        assert all(text in sentence for text, sentence in zip(warnings, told))


def test_sidecars_know_the_given_mask_and_their_own_image(unit, config, tmp_path):
    """Both as BIDS URI."""
    config = replace(config, derivatives={"masks": tmp_path / "masks"})
    given = tmp_path / "masks/sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    describe = init_outputs_wf(unit, config, given_mask=given).get_node("describe").inputs
    assert describe.mask_source == "bids:masks:sub-01/anat/sub-01_desc-brain_mask.nii.gz"
    assert describe.own_uri == "bids::sub-01/anat/sub-01_desc-denoised_T1w.nii.gz"


def test_echoes_differ_in_contrast_and_each_is_written(config):
    """Echoes are denoised as different contrasts, pass without that of intensities, and keep their names."""
    config = replace(config, denoise=DenoiseConfig(strategy="auto"))
    workflow = init_anat_unit_wf(make_unit(config.bids_dir, "echo"), config)
    denoise = workflow.get_node("denoise").inputs
    assert denoise.different_contrast is True
    assert denoise.save_repetitions is True
    assert workflow.get_node("align_wf.resample").inputs.min_correlation == -1
    targets = workflow.get_node("outputs_wf.write_repetitions").inputs.targets
    (values,) = (paths for paths in targets.values() if paths[0].endswith(".nii.gz"))
    assert [Path(value).name for value in values] == [
        "sub-01_echo-1_desc-denoised_T1w.nii.gz",
        "sub-01_echo-2_desc-denoised_T1w.nii.gz",
    ]


@pytest.mark.parametrize(
    ("device", "slots", "is_gpu"), [("cpu", 1, False), ("auto", 0, False), ("auto", 1, True)]
)
def test_denoise_node_is_one_gpu_job_or_none(device, slots, is_gpu):
    """A GPU node takes one slot whatever its threads; without GPU slots it is no GPU node."""
    resources = ResourceConfig(omp_nthreads=4, n_gpu_procs=slots)
    node = init_denoise_node(DenoiseConfig(device=device), resources)
    assert node.is_gpu_node() is is_gpu
    assert node.n_procs == (1 if is_gpu else 4)


def test_resources_do_not_change_the_hash_of_denoising():
    """Another machine with other threads, memory or device resumes instead of computing anew."""
    small = init_denoise_node(DenoiseConfig(device="cpu"), ResourceConfig())
    large = init_denoise_node(
        DenoiseConfig(device="cuda"), ResourceConfig(omp_nthreads=8, memory_gb=64, n_gpu_procs=1)
    )
    other = init_denoise_node(DenoiseConfig(recipe="fast"), ResourceConfig())
    hashes = [node.inputs.get_hashval()[1] for node in (small, large, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_other_weights_under_the_same_name_are_denoised_with_anew(tmp_path):
    """The hash follows the content of the weights, wherever they lie, and those of the package too."""

    def hash_with(folder: Path, content: bytes) -> str:
        folder.mkdir(exist_ok=True)
        (folder / "resunet-t1w.safetensors").write_bytes(content)
        node = init_denoise_node(DenoiseConfig(weights_dir=folder), ResourceConfig())
        return node.inputs.get_hashval()[1]

    first, moved = hash_with(tmp_path / "a", b"one"), hash_with(tmp_path / "b", b"one")
    assert first == moved != hash_with(tmp_path / "a", b"two")
    packaged = init_denoise_node(DenoiseConfig(), ResourceConfig())
    assert packaged.inputs.get_hashval()[1] != first
    card = json.loads((PACKAGED / "resunet-t1w.json").read_text())
    assert packaged.inputs.weights_sha256["resunet-t1w.safetensors"] == card["sha256"]


def test_participant_wf_keeps_units_apart_and_its_folder(unit, config):
    """Units have no joint, names nipype accepts, a folder that does not depend on the run."""
    second = replace(unit, entities={"sub": "01", "acq": "hires"})
    workflow = init_participant_wf("01", [unit, second], config)
    assert workflow._graph.number_of_edges() == 0
    assert {child.name for child in workflow._graph.nodes()} == {unit.workflow_name, second.workflow_name}
    again = init_participant_wf("01", [unit], replace(config, run_uuid="another"))
    assert workflow.name == again.name


def test_one_preproc_image_for_each_session(unit, config):
    """fMRIPrep wants one: the unit with the fewest entities of each session gives it."""
    hires = replace(unit, entities={"sub": "01", "acq": "hires"})
    other = replace(unit, entities={"sub": "01", "ses": "2", "acq": "hires"})
    config = replace(config, outputs=OutputConfig(fmriprep_derivatives=True))
    workflow = init_participant_wf("01", [hires, unit, other], config)
    nodes = [name for name in workflow.list_node_names() if name.endswith("write_preproc")]
    targets = [Path(workflow.get_node(name).inputs.targets["preproc"][0]).name for name in nodes]
    assert sorted(targets) == ["sub-01_desc-preproc_T1w.nii.gz", "sub-01_ses-2_desc-preproc_T1w.nii.gz"]
    assert nodes[0].split(".")[0] in (unit.workflow_name, other.workflow_name)
    assert_wired(workflow)


@pytest.fixture
def masked_bids(tiny_bids, head, affine, tmp_path):
    """The small dataset, with a brain mask in a derivative of its own."""
    folder = tmp_path / "masks" / "sub-01" / "anat"
    folder.mkdir(parents=True)
    nb.Nifti1Image(head[1].astype(np.uint8), affine).to_filename(folder / "sub-01_desc-brain_mask.nii.gz")
    return tiny_bids, tmp_path / "masks"


def denoise(units: list[DenoisingUnit], config: Config) -> list[str]:
    """Run the units as the app does; returns what went wrong."""
    configure_nipype(DebugConfig())
    return run_batch([ParticipantWork("01", tuple(units), ())], config, Interruption())["01"]


def test_a_run_that_fails_marks_what_it_did_not_replace(masked_bids, config):
    """A resumed run takes its results over; one that fails leaves those of the run before, marked."""
    bids, masks = masked_bids
    config = replace(config, bids_dir=bids, derivatives={"masks": masks})
    for run in ("20261121-a", "20261121-b"):
        assert denoise([make_unit(bids)], replace(config, run_uuid=run)) == []
        (record,) = find_records(config.output_dir, "01")
        assert (record.denoising.run_uuid, record.outdated) == (run, "")
    assert record.denoising.sources[0] == "bids:raw:sub-01/anat/sub-01_run-1_T1w.nii.gz"
    (bids / "sub-01/anat/sub-01_run-2_T1w.nii.gz").write_bytes(b"no image")
    assert denoise([make_unit(bids)], replace(config, run_uuid="20261121-c"))
    (record,) = find_records(config.output_dir, "01")
    assert "the run 20261121-c has not replaced it" in record.outdated


@pytest.mark.parametrize(
    ("entity", "labels", "before"),
    [("run", ("1", "2"), "mean"), ("echo", ("1", "2"), "mean"), ("run", ("1",), "as acquired")],
)
def test_viewer_is_told_what_it_shows(config, entity, labels, before):
    """Echoes have a window of their own, one image alone has no mean; the head is shown only on demand."""
    unit = make_unit(config.bids_dir, entity, labels)
    config = replace(config, outputs=OutputConfig(viewer_head=True))
    if len(labels) == 1:
        unit = replace(unit, kind="anat-single")
    node = init_anat_reports_wf(unit, config).get_node("draw_viewer")
    assert node.inputs.before == before
    assert node.inputs.same_contrast is (entity != "echo")
    assert node.inputs.whole_head is True
    plain = init_anat_reports_wf(unit, replace(config, outputs=OutputConfig()))
    assert "draw_viewer" not in plain.list_node_names()
    unhidden = init_anat_reports_wf(unit, replace(config, outputs=OutputConfig(viewer=True)))
    assert unhidden.get_node("draw_viewer").inputs.whole_head is False


@pytest.mark.parametrize("labels", [("1", "2"), ("1",)])
def test_figures_of_one_image_alone_speak_of_no_repetition(config, labels):
    """Nothing was repeated or averaged: neither the pictures nor their scales may say so."""
    unit = make_unit(config.bids_dir, "run", labels)
    single = len(labels) == 1
    workflow = init_anat_reports_wf(replace(unit, kind="anat-single") if single else unit, config)
    inputnode = workflow.get_node("inputnode")
    for name in ("draw_denoised", "draw_detail"):
        edge = workflow._graph.get_edge_data(inputnode, workflow.get_node(name))
        targets = {target for _, target in edge["connect"]}
        assert ("repetition_file" in targets) is not single
    assert ("repetition" in workflow.get_node("draw_noisesd").inputs.title) is not single
    assert workflow.get_node("draw_risk").inputs.before == ("before denoising" if single else "plain mean")


def test_a_run_without_viewer_takes_away_that_of_earlier_results(masked_bids, config):
    """The page would show images that are not there any more; one run later it is there again."""
    bids, masks = masked_bids
    config = replace(config, bids_dir=bids, derivatives={"masks": masks})
    shown = config.output_dir / "sub-01" / "figures" / "sub-01_desc-viewer_T1w.json"
    for viewer in (True, False, True):
        assert denoise([make_unit(bids)], replace(config, outputs=OutputConfig(viewer=viewer))) == []
        assert shown.is_file() is viewer


def test_a_whole_run_writes_the_derivatives(masked_bids, config):
    """Two runs end as denoised and mean images, masks, maps, transforms, figures and honest sidecars."""
    bids, masks = masked_bids
    outputs = OutputConfig(fmriprep_derivatives=True, raw_like_dir=config.work_dir / "rawlike", viewer=True)
    config = replace(config, bids_dir=bids, derivatives={"masks": masks}, outputs=outputs)
    assert denoise([make_unit(bids)], config) == []
    anat = config.output_dir / "sub-01" / "anat"
    written = {path.name for path in anat.iterdir()}
    for name in ("denoised_T1w", "mean_T1w", "residual_T1w", "noisesd_T1w", "uncertainty_T1w", "brain_mask"):
        assert {f"sub-01_desc-{name}.nii.gz", f"sub-01_desc-{name}.json"} <= written
    assert {f"sub-01_run-{run}_from-orig_to-T1w_mode-image_xfm.txt" for run in (1, 2)} <= written
    assert {"sub-01_desc-denoised_figures.json", "sub-01_desc-alignment_figures.json"} <= written
    assert not [name for name in written if name.startswith(".")]
    figures = {path.name for path in (config.output_dir / "sub-01" / "figures").iterdir()}
    assert {f"sub-01_desc-{name}_T1w.svg" for name in ("mask", "denoised", "uncertainty")} <= figures
    assert {"sub-01_run-2_desc-alignment_T1w.svg", "sub-01_desc-viewer_T1w.json"} <= figures
    drawn = config.output_dir / "sub-01" / "figures" / "sub-01_run-2_desc-alignment_T1w.svg"
    assert "run-1 (reference)" in drawn.read_text()

    sidecar = json.loads((anat / "sub-01_desc-denoised_T1w.json").read_text())
    assert sidecar["Sources"] == [f"bids:raw:sub-01/anat/sub-01_run-{run}_T1w.nii.gz" for run in (1, 2)]
    assert sidecar["SkullStripped"] is False
    assert sidecar["MagneticFieldStrength"] == 3
    assert "EchoTime" not in sidecar
    assert sidecar["RandomSeed"] == config.denoise.random_seed
    record = json.loads((anat / "sub-01_desc-denoised_figures.json").read_text())
    assert [row["file"] for row in record["repetitions"]] == [
        f"sub-01_run-{run}_T1w.nii.gz" for run in (1, 2)
    ]

    source = nb.load(bids / "sub-01/anat/sub-01_run-1_T1w.nii.gz")
    image = nb.load(anat / "sub-01_desc-denoised_T1w.nii.gz")
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.affine, source.affine)
    for field in ("pixdim", "qform_code", "sform_code", "srow_x", "xyzt_units"):
        np.testing.assert_array_equal(image.header[field], source.header[field])
    runs = [nb.load(bids / f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz").get_fdata() for run in (1, 2)]
    expected = (runs[0] + runs[1] / 1.1) / 2
    assert np.abs(image.get_fdata() - expected).mean() < 0.02 * expected.max()
    assert (anat / "sub-01_desc-preproc_T1w.nii.gz").exists()
    assert "N4" in json.loads((anat / "sub-01_desc-preproc_T1w.json").read_text())["Description"]
    raw_like = config.work_dir / "rawlike"
    assert (raw_like / "sub-01/anat/sub-01_rec-n2a_T1w.nii.gz").exists()
    sidecar = json.loads((raw_like / "sub-01/anat/sub-01_rec-n2a_T1w.json").read_text())
    assert sidecar["DenoisedFrom"] == [f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz" for run in (1, 2)]
    assert json.loads((raw_like / "dataset_description.json").read_text())["DatasetType"] == "raw"

    write_dataset_files(config.output_dir, bids, config.derivatives)
    assert_valid(config.output_dir, optional=True)

    # A later run resumes: it restores what was deleted, and computes nothing again.
    before = image.get_fdata()
    (anat / "sub-01_desc-denoised_T1w.nii.gz").unlink()
    computed = {path: path.stat().st_mtime_ns for path in config.work_dir.rglob("denoised.nii.gz")}
    assert computed
    assert denoise([make_unit(bids)], config) == []
    np.testing.assert_array_equal(nb.load(anat / "sub-01_desc-denoised_T1w.nii.gz").get_fdata(), before)
    assert all(path.stat().st_mtime_ns == time for path, time in computed.items())


def test_a_unit_that_fails_harms_no_other(masked_bids, config, noisy_runs):
    """One unit with a broken image stops with its reason; the other one is written."""
    bids, masks = masked_bids
    config = replace(config, bids_dir=bids, derivatives={"masks": masks})
    good = make_unit(bids)
    broken = replace(good, images=(good.images[0], replace(good.images[1], path=bids / "missing.nii.gz")))
    broken = replace(broken, entities={"sub": "01", "acq": "broken"})
    (failure,) = denoise([broken, good], config)
    assert "missing.nii.gz: expected an image, found no such file" in failure
    assert (config.output_dir / "sub-01/anat/sub-01_desc-denoised_T1w.nii.gz").exists()
    assert not list((config.output_dir / "sub-01/anat").glob("*acq-broken*"))
    crashes = list((config.output_dir / "sub-01/log" / config.run_uuid).glob("crash*.txt"))
    assert len(crashes) == 1
    assert "missing.nii.gz" in crashes[0].read_text()


def test_each_echo_is_written_with_its_own_metadata(config, tmp_path, head, affine):
    """The outputs of two echoes: their combination, and each under its name with its echo time."""
    config = replace(config, denoise=DenoiseConfig(strategy="auto"))
    unit = make_unit(config.bids_dir, "echo")
    image = tmp_path / "image.nii.gz"
    nb.Nifti1Image(head[0].astype(np.float32), affine).to_filename(image)
    names = [own.path.name for own in unit.images]
    row = {"rotation_deg": 0, "translation_mm": 0, "correlation_after": 1, "overlap": 1, "accepted": True}
    alignment = {
        **{"reference": names[0], "space": "reference", "interpolation": "none"},
        "repetitions": [{"file": name, "reason": "", **row} for name in names],
    }
    (tmp_path / "alignment.json").write_text(json.dumps(alignment))
    (tmp_path / "record.json").write_text("{}")
    workflow = init_outputs_wf(unit, config)
    workflow.base_dir = str(tmp_path / "work")
    inputs = workflow.get_node("inputnode").inputs
    for field in ("denoised", "mean", "residual", "noise_sd", "mask"):
        setattr(inputs, field, str(image))
    inputs.denoising, inputs.alignment = str(tmp_path / "record.json"), str(tmp_path / "alignment.json")
    inputs.accepted, inputs.repetitions = [0, 1], [str(image)] * 2
    inputs.transforms = [str(tmp_path / "record.json")] * 2
    workflow.run("Linear")
    anat = config.output_dir / "sub-01/anat"
    sidecars = [
        json.loads((anat / f"sub-01{echo}_desc-denoised_T1w.json").read_text())
        for echo in ("", "_echo-1", "_echo-2")
    ]
    assert [sidecar.get("EchoTime") for sidecar in sidecars] == [None, 0.001, 0.002]


def test_mean_of_echoes_is_one_image(make_bids, head, noisy_runs, affine, config, tmp_path):
    """The plain mean has no image for each echo to write, and a whole run of it ends well."""
    echoes = [(1.0, noisy_runs(2)[0]), (0.7, noisy_runs(2)[1])]
    bids = make_bids(
        {f"sub-01/anat/sub-01_echo-{number}_T1w.nii.gz": gain * image
         for number, (gain, image) in enumerate(echoes, start=1)}
    )  # fmt: skip
    masks = tmp_path / "masks" / "sub-01" / "anat"
    masks.mkdir(parents=True)
    nb.Nifti1Image(head[1].astype(np.uint8), affine).to_filename(masks / "sub-01_desc-brain_mask.nii.gz")
    config = replace(config, bids_dir=bids, derivatives={"masks": tmp_path / "masks"})
    unit = make_unit(bids, "echo")
    workflow = init_anat_unit_wf(unit, config)
    targets = workflow.get_node("outputs_wf.write_repetitions").inputs.targets
    assert not any(path.endswith(".nii.gz") for paths in targets.values() for path in paths)
    assert workflow.get_node("denoise").inputs.different_contrast is True
    assert denoise([unit], config) == []
    written = {
        path.name for path in (config.output_dir / "sub-01" / "anat").glob("*_desc-denoised_T1w.nii.gz")
    }
    assert written == {"sub-01_desc-denoised_T1w.nii.gz"}


def test_the_reference_has_no_alignment_figure_of_an_earlier_run(config):
    """Another run may have been the reference then: the page would show this one as moved."""
    reports = init_anat_reports_wf(make_unit(config.bids_dir), config)
    edge = (reports.get_node("inputnode"), reports.get_node("write_alignment"))
    assert ("reference", "gone") in reports._graph.edges[edge]["connect"]


@pytest.mark.parametrize(("strategy", "stays"), [("auto", True), ("recorrupted", False)])
def test_errors_told_by_another_strategy_are_deleted(config, strategy, stays):
    """One that tells none removes map, sidecar and figure of one that does, and nothing that it writes."""
    unit = make_unit(config.bids_dir)
    asked = replace(config, denoise=replace(config.denoise, strategy=strategy))
    write = init_outputs_wf(unit, asked).get_node("write")
    superseded = {Path(path).name for path in write.inputs.superseded}
    told = {f"sub-01_desc-uncertainty_T1w.{extension}" for extension in ("nii.gz", "json", "svg")}
    assert superseded & told == (set() if stays else told)
    written = {path for paths in write.inputs.targets.values() for path in paths}
    assert not written & set(write.inputs.superseded)


def test_single_echoes_of_another_strategy_are_deleted(config):
    """They would stand beside the mean of all; runs that are denoised alone are groups of their own."""
    names = {}
    for entity in ("run", "echo"):
        write = init_outputs_wf(make_unit(config.bids_dir, entity), config).get_node("write")
        names[entity] = {Path(path).name for path in write.inputs.superseded}
        assert "sub-01_desc-denoised_T1w.svg" not in names[entity]
    assert {"sub-01_echo-1_desc-denoised_T1w.nii.gz", "sub-01_echo-2_desc-denoised_T1w.json"} <= names["echo"]
    assert not any(name.startswith("sub-01_run-1_desc-denoised") for name in names["run"])


@pytest.mark.parametrize(
    ("label", "asked", "stays"), [("1", False, False), ("7", False, True), ("1", True, True)]
)
def test_an_image_for_fmriprep_does_not_outlive_its_group(config, label, asked, stays):
    """Written anew without the option, the group takes the earlier image along; that of another stays."""
    config = replace(config, outputs=OutputConfig(fmriprep_derivatives=asked))
    image = config.output_dir / "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    image.parent.mkdir(parents=True)
    sources = [f"bids:raw:sub-01/anat/sub-01_run-{label}_T1w.nii.gz"]
    image.with_name("sub-01_desc-preproc_T1w.json").write_text(json.dumps({"Sources": sources}))
    superseded = init_outputs_wf(make_unit(config.bids_dir), config).get_node("write").inputs.superseded
    assert (str(image) in superseded) is not stays
