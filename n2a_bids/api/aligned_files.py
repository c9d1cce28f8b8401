"""Aligns files of anatomical repetitions as the app does: for the Python functions and the tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

from nipype.interfaces.base import Interface, isdefined

from n2a_bids.config import AlignConfig, DenoiseConfig
from n2a_bids.dataset.read.given_masks import owner_of_mask
from n2a_bids.dataset.read.gradient_tables import read_header
from n2a_bids.dataset.read.image_checks import MOST_MISSING, content_problem
from n2a_bids.denoising.inputs import DenoiseJob
from n2a_bids.errors import BIDSDataError
from n2a_bids.interfaces.anat.align import AlignRepetitions
from n2a_bids.interfaces.anat.mask import BrainMask, GivenBrainMask
from n2a_bids.interfaces.anat.register import ChooseReference, RegisterRigid
from n2a_bids.interfaces.gaps import FindGaps
from n2a_bids.interfaces.image_checks import InspectInputs
from n2a_bids.interfaces.odd_repetitions import read_odd_repetitions
from n2a_bids.io.images import UNREADABLE, load
from n2a_bids.io.json import read_typed
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord

RANDOM_SEED = DenoiseConfig().random_seed
"""Seed where none is given: that of ``n2a``."""


@dataclass(frozen=True, slots=True)
class AlignmentOptions:
    """How files are aligned."""

    mask: Path | None = None
    """Brain of the image that has its grid, else of the first; None: it is found in each."""
    config: AlignConfig = field(default_factory=AlignConfig)
    same_contrast: bool = True
    """False for echoes, whose intensities and shading need not agree."""
    random_seed: int = RANDOM_SEED
    threads: int = 1

    @property
    def thresholds(self) -> dict[str, float | str]:
        """Space and thresholds, as `AlignRepetitions` takes them."""
        return asdict(self.config) | ({} if self.same_contrast else {"min_correlation": -1.0})


@dataclass(frozen=True, slots=True)
class AlignedFiles:
    """Repetitions on one grid, as files."""

    runs: tuple[Path, ...]
    """Accepted repetitions."""
    brain_mask: Path
    common_mask: Path
    """Brain inside the field of view of every accepted repetition."""
    transforms: tuple[Path, ...]
    """World of the result to world of each accepted repetition."""
    reference: Path
    """As it was stored, before any interpolation."""
    accepted: tuple[int, ...]
    """Which of the images the accepted ones are, from 0."""
    record: AlignmentRecord
    measured: Path | None = None
    """How many repetitions were measured at each voxel; None where all were."""
    warnings: tuple[str, ...] = ()

    def denoised_by(self, job: DenoiseJob) -> DenoiseJob:
        """A denoising job that takes the aligned files instead of the original ones."""
        return replace(
            job,
            runs=self.runs,
            mask=self.brain_mask,
            measured=self.measured,
            stored=(self.reference,),
            # They were compared as they were acquired.
            allow_shared_noise=True,
        )


def align_files(paths: Sequence[Path], folder: Path, how: AlignmentOptions) -> AlignedFiles:
    """Align image files, and look at them, as the workflow of the app does.

    Parameters
    ----------
    paths : sequence of Path
        Two or more.
    folder : Path
        For all files that come about.
    how : AlignmentOptions
    """
    if len(paths) < 2:
        raise BIDSDataError(f"expected two images or more to align, found {len(paths)}")
    refuse_series(paths)
    if how.mask is not None:
        _check_mask(how.mask)
    gaps = run_interface(FindGaps(in_files=list(map(str, paths))), folder / "gaps")
    owner = None if how.mask is None else gaps.out_files[owner_of_mask(how.mask, paths)]
    masks = [
        run_interface(_mask_interface(path, how, owner), folder / f"mask-{index}").out_mask
        for index, path in enumerate(gaps.out_files)
    ]
    kept, odd = list(range(len(paths))), {}
    while True:
        images = [_Masked(gaps.out_files[one], masks[one], gaps.gap_files[one]) for one in kept]
        chosen = _choose(images, owner, folder / "reference", how)
        try:
            found = _align_to(chosen, images, owner, folder / f"without-{len(odd)}", how)
            break
        except BIDSDataError:
            reasons = read_odd_repetitions(folder / f"without-{len(odd)}" / "aligned")
            if not reasons or len(kept) < 3:  # one that is left alone is not aligned
                raise
            (odd[kept.pop(chosen.index)],) = reasons.values()
    record = read_typed(AlignmentRecord, Path(found.record_file))
    looking = InspectInputs(index=kept[chosen.index], alignment_warnings=found.warnings)
    return AlignedFiles(
        tuple(map(Path, found.out_files)),
        Path(found.brain_mask),
        Path(found.common_mask),
        tuple(map(Path, found.out_transforms)),
        Path(chosen.reference_file),
        tuple(kept[index] for index in found.accepted),
        _with_odd(record, {index: (paths[index].name, reason) for index, reason in odd.items()}),
        Path(found.measured_file) if isdefined(found.measured_file) else None,
        _look_at(paths, gaps, masks, how, looking, folder / "inspected"),
    )


def _look_at(
    paths: Sequence[Path],
    gaps: SimpleNamespace,
    masks: Sequence[str],
    how: AlignmentOptions,
    looking: InspectInputs,
    folder: Path,
) -> tuple[str, ...]:
    """Warnings of the images as they came, and of the steps before."""
    looking.inputs.trait_set(
        in_files=gaps.out_files,
        mask_files=masks,
        names=[path.name for path in paths],
        given_mask=how.mask.name if how.mask else "",
        gap_warnings=gaps.warnings,
    )
    return tuple(run_interface(looking, folder).warnings)


@dataclass(frozen=True, slots=True)
class _Masked:
    """A repetition without its gaps, its brain mask, and the map of its gaps, or an empty text."""

    file: str
    mask: str
    gaps: str


def _choose(
    images: Sequence[_Masked], owner: str | None, folder: Path, how: AlignmentOptions
) -> SimpleNamespace:
    """The reference among repetitions: the owner of the mask, if one was given."""
    files = [image.file for image in images]
    choice = ChooseReference(
        in_files=files,
        mask_files=[image.mask for image in images],
        gap_files=[image.gaps for image in images],
        min_overlap=how.config.min_overlap,
    )
    if owner is not None:
        # Results take the mask of the reference: of a head that moved, it lies on one of the images only.
        choice.inputs.required_index = files.index(owner)
    return run_interface(choice, folder)


def _align_to(
    chosen: SimpleNamespace, images: Sequence[_Masked], owner: str | None, folder: Path, how: AlignmentOptions
) -> SimpleNamespace:
    """Bring repetitions to the grid of the reference."""
    aligning = AlignRepetitions(
        in_files=[image.file for image in images],
        gap_files=[image.gaps for image in images],
        index=chosen.index,
        reference_mask=chosen.reference_mask,
        reference_reason=chosen.reason,
        contrast_to_noise=chosen.contrast_to_noise,
        transforms=_register(chosen, folder, how),
        match_shading=how.same_contrast,
        may_leave_out_reference=owner is None,
        may_leave_out_spoiled_reference=owner is None,
        **how.thresholds,
    )
    return run_interface(aligning, folder / "aligned")


def _with_odd(record: AlignmentRecord, odd: Mapping[int, tuple[str, str]]) -> AlignmentRecord:
    """The record, in which the images that were no good as references are named at their places."""
    repetitions = list(record.repetitions)
    for index, (name, reason) in sorted(odd.items()):
        repetitions.insert(index, AlignedRepetition(file=name, accepted=False, reason=reason))
    return replace(record, repetitions=tuple(repetitions))


def _mask_interface(path: str, how: AlignmentOptions, owner: str | None) -> Interface:
    if owner is None:
        return BrainMask(in_file=path, threads=how.threads)
    return GivenBrainMask(in_file=path, mask_file=str(how.mask), owner_file=owner)


def _register(chosen: SimpleNamespace, folder: Path, how: AlignmentOptions) -> list[str]:
    """Transform files of all but the reference, in order."""
    moving = zip(chosen.moving_files, chosen.moving_masks, chosen.moving_gaps, strict=True)
    transforms = []
    for index, (image, brain, missing) in enumerate(moving):
        interface = RegisterRigid(
            reference_file=chosen.reference_file,
            reference_mask=chosen.reference_mask,
            reference_gaps=chosen.reference_gaps,
            moving_file=image,
            moving_mask=brain,
            moving_gaps=missing,
            match_shading=how.same_contrast,
            random_seed=how.random_seed,
        )
        transforms.append(run_interface(interface, folder / f"register-{index}").out_transform)
    return transforms


def refuse_series(paths: Sequence[Path]) -> None:
    """Raise for images of four axes, as those of diffusion have a way of their own, and for unsound ones.

    Raises
    ------
    BIDSDataError
        If one has more than one volume, cannot be read whole, contradicts itself on where it lies, or holds
        no image.
    """
    for path in paths:
        if read_header(path)[0] not in (1, None):  # None is damage, told below
            raise BIDSDataError(
                f"{path}: expected an image of three axes, found a series; give diffusion series to "
                "n2a_bids.denoise with their gradient table and align=False, or use the app"
            )
    refuse_unsound(paths)


def refuse_unsound(paths: Sequence[Path]) -> None:
    """Raise for images, of any number of volumes, that cannot be read whole or hold no image.

    Raises
    ------
    BIDSDataError
        As `content_problem` says.
    """
    for path in paths:
        if problem := content_problem(path, MOST_MISSING):
            raise BIDSDataError(problem)


def _check_mask(path: Path) -> None:
    try:
        load(path)
    except UNREADABLE as error:
        raise BIDSDataError(
            f"{path}: expected a mask, found none that can be read whole ({error}); copy it again"
        ) from error


def run_interface(interface: Interface, folder: Path) -> SimpleNamespace:
    """Run an interface in a folder of its own, and return its outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(**interface.run(cwd=str(folder)).outputs.get())
