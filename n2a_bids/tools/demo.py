"""``n2a-tools demo``: runs the app on a simulated dataset, and scores the result against its truth."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from n2a_bids.algorithms.quality.metrics import psnr
from n2a_bids.config.options import Option, Range
from n2a_bids.errors import ConfigError
from n2a_bids.io.files import whole_file, write_whole
from n2a_bids.io.images import load
from n2a_bids.lab.benchmark.truths import Truth, template_truth
from n2a_bids.lab.simulation.head import add_head
from n2a_bids.lab.simulation.runs import SimulationConfig, resample, simulate_runs

_DATASET_NAME = "n2a demo: two simulated T1w runs"
_NOISE = SimulationConfig(
    noise_level=0.45, n_repetitions=2, max_rotation_deg=4.0, max_translation_mm=4.0, max_gain_change=0.2
)
_INTENSITY_SCALE = 4.0


@dataclass(frozen=True, slots=True)
class DemoFolders:
    """Where the parts of the demonstration lie."""

    root: Path

    @property
    def bids(self) -> Path:
        """The dataset."""
        return self.root / "bids"

    @property
    def truth(self) -> Path:
        """What each run would show without noise, and its brain: outside the dataset."""
        return self.root / "truth"

    @property
    def derivatives(self) -> Path:
        """What the app writes."""
        return self.root / "derivatives"

    @property
    def work(self) -> Path:
        """Intermediate files; a second call resumes from them."""
        return self.root / "work"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """PSNR against the truth, inside the brain."""

    mean_db: float
    denoised_db: float

    @property
    def gain_db(self) -> float:
        """What denoising adds to averaging."""
        return self.denoised_db - self.mean_db


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """The command line of ``n2a-tools demo``."""

    folder: Annotated[Path, Option("where to write", positional=True, default="./n2a-demo")] = Path(
        "n2a-demo"
    )
    voxel_size_mm: Annotated[
        float, Range(0, above=True), Option("of the simulated runs", metavar="MM", default="2")
    ] = 2.0
    recipe: Annotated[Literal["fast", "default", "thorough"], Option("recipe that n2a is told")] = "fast"
    random_seed: Annotated[int, Range(0), Option("of the simulation", metavar="N")] = 1
    only_data: Annotated[bool, Option("write the dataset and stop")] = False


def run_demo(config: DemoConfig) -> int:
    """Write the dataset, run the app on it as a user would, and print what was gained.

    Returns
    -------
    code : int
        That of ``n2a``.
    """
    folders = DemoFolders(config.folder.resolve())
    started = time.monotonic()
    if _is_written(folders):
        _say(f"Dataset from an earlier call: {folders.bids}")
    else:
        write_dataset(folders, config.voxel_size_mm, config.random_seed)
        _say(f"Dataset: {folders.bids} (two T1w runs of one simulated head)\nTruth:   {folders.truth}")
    if config.only_data:
        return 0
    command = app_command(folders, config.recipe)
    _say("Running: n2a " + " ".join(command[3:]))
    code = subprocess.run(command, check=False).returncode
    if code == 0:
        _print_result(score(folders), folders, time.monotonic() - started)
    return code


def app_command(folders: DemoFolders, recipe: str) -> list[str]:
    """Command line of the app on the demonstration dataset."""
    return [
        *(sys.executable, "-m", "n2a_bids"),
        *(str(folders.bids), str(folders.derivatives), "participant"),
        *("--work-dir", str(folders.work), "--recipe", recipe, "--viewer"),
    ]


def write_dataset(folders: DemoFolders, voxel_size_mm: float, random_seed: int) -> None:
    """Simulate two runs of one head and write them as BIDS, with the truth of each beside it.

    Parameters
    ----------
    folders : DemoFolders
        Its `bids` and `truth` are written.
    voxel_size_mm : float
        Isotropic voxel size of the runs, 1 or more.
    random_seed : int
        Same seed, same dataset.

    Raises
    ------
    ConfigError
        If the folder holds something else, or the voxel size is too small or too large.
    """
    if not 1 <= voxel_size_mm <= 4:
        raise ConfigError(
            f"--voxel-size-mm: expected a number from 1 to 4, found {voxel_size_mm:g}; the template has 1 mm"
        )
    if folders.root.exists() and (not folders.root.is_dir() or any(folders.root.iterdir())):
        found = "other files" if folders.root.is_dir() else "a file"
        raise ConfigError(
            f"{folders.root}: expected a new or empty folder for the demonstration, found {found}; "
            "name another folder"
        )
    generator = np.random.default_rng(random_seed)
    brain = shrink(template_truth(), voxel_size_mm)
    head = _INTENSITY_SCALE * add_head(brain.data, brain.mask, brain.voxel_size_mm, generator)
    runs = simulate_runs(head, brain.mask, _NOISE, generator, brain.voxel_size_mm)
    for index in range(_NOISE.n_repetitions):
        name = f"sub-01_run-{index + 1}"
        clean = runs.gains[index] * resample(head, runs.transforms[index], brain.voxel_size_mm)
        moved_mask = (
            resample(brain.mask.astype(np.float32), runs.transforms[index], brain.voxel_size_mm) > 0.5
        )
        anat = folders.bids / "sub-01" / "anat"
        _save(runs.repetitions[index].round().astype(np.int16), brain.affine, anat / f"{name}_T1w.nii.gz")
        write_whole(anat / f"{name}_T1w.json", json.dumps({"Modality": "MR", "MRAcquisitionType": "3D"}))
        _save(clean, brain.affine, folders.truth / f"{name}_T1w.nii.gz")
        _save(moved_mask.astype(np.uint8), brain.affine, folders.truth / f"{name}_mask.nii.gz")
    write_whole(
        folders.bids / "README",
        "Simulated for demonstration: an average brain in a made-up head, moved between two runs, with\n"
        "Rician noise and different gain.\n",
    )
    description = {"Name": _DATASET_NAME, "BIDSVersion": "1.10.0", "DatasetType": "raw", "License": "CC0"}
    write_whole(folders.bids / "dataset_description.json", json.dumps(description, indent=2) + "\n")


def shrink(truth: Truth, voxel_size_mm: float) -> Truth:
    """Sample a truth on a coarser isotropic grid, blurred first so that nothing is aliased."""
    factors = np.asarray(truth.voxel_size_mm) / voxel_size_mm
    if np.allclose(factors, 1):
        return truth
    shape = np.maximum(1, np.floor(np.asarray(truth.data.shape) * factors)).astype(int)
    # A Gaussian whose FWHM is the new voxel, less what the old voxel blurs already.
    blur_sd = np.sqrt(np.maximum(factors**-2 - 1, 0)) / np.sqrt(8 * np.log(2))
    data, mask = (
        ndimage.affine_transform(
            ndimage.gaussian_filter(np.asarray(image, dtype=np.float32), blur_sd),
            np.diag(1 / factors),
            output_shape=tuple(shape),
            order=3,
        )
        for image in (truth.data, truth.mask)
    )
    inside = mask > 0.5
    affine = truth.affine @ np.diag([*(1 / factors), 1.0])
    return Truth(truth.name, np.where(inside, np.maximum(data, 0), 0), inside, affine)


def score(folders: DemoFolders) -> DemoResult:
    """Compare what the app wrote with the truth of the run that it took as reference.

    Mean and denoised image are brought to the truth's intensity by one factor, the same for both.
    """
    anat = folders.derivatives / "sub-01" / "anat"
    mean, _ = load(anat / "sub-01_desc-mean_T1w.nii.gz")
    denoised, _ = load(anat / "sub-01_desc-denoised_T1w.nii.gz")
    truth, mask = _truth_of_reference(folders, mean)
    factor = np.vdot(mean[mask], truth[mask]) / np.vdot(mean[mask], mean[mask])
    return DemoResult(psnr(factor * mean, truth, mask), psnr(factor * denoised, truth, mask))


def _truth_of_reference(
    folders: DemoFolders, mean: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Truth and mask of the run in whose position the mean lies: the one that resembles it most."""
    candidates = []
    for index in range(1, _NOISE.n_repetitions + 1):
        truth, _ = load(folders.truth / f"sub-01_run-{index}_T1w.nii.gz")
        mask = load(folders.truth / f"sub-01_run-{index}_mask.nii.gz")[0] > 0
        candidates.append((float(np.corrcoef(truth[mask], mean[mask])[0, 1]), truth, mask))
    _, truth, mask = max(candidates, key=lambda candidate: candidate[0])
    return truth, mask


def _say(text: str) -> None:
    # Flushed, or it would come after what the app prints.
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _print_result(result: DemoResult, folders: DemoFolders, seconds: float) -> None:
    _say(
        f"\nPSNR against the truth, inside the brain:\n"
        f"  plain mean  {result.mean_db:6.2f} dB\n"
        f"  denoised    {result.denoised_db:6.2f} dB  ({result.gain_db:+.2f} dB)\n"
        "One simulated head of an average brain: it shows that everything works, not how well on yours.\n"
        f"Report: {folders.derivatives / 'sub-01.html'}\n"
        f"Viewer: {folders.derivatives / 'sub-01_viewer.html'}\n"
        f"Done in {seconds / 60:.1f} minutes."
    )


def _is_written(folders: DemoFolders) -> bool:
    """Whether an earlier call wrote its dataset here; the description is written last."""
    description = folders.bids / "dataset_description.json"
    return description.is_file() and json.loads(description.read_text()).get("Name") == _DATASET_NAME


def _save(data: NDArray, affine: NDArray[np.float64], path: Path) -> None:
    image = nb.Nifti1Image(data, affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    with whole_file(path) as temporary:
        image.to_filename(temporary)
