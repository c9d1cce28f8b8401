"""Complex images in a dataset: which files make one, when a phase is used, what is wrong with bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from complex_dataset import write_complex_dwi, write_complex_t1w

from n2a_bids.app.damaged_images import with_sound_images
from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import Config, SelectionConfig
from n2a_bids.dataset.collect import collect
from n2a_bids.dataset.listing import format_collection
from n2a_bids.dataset.units import Collection, DenoisingUnit
from n2a_bids.interfaces.complex_parts import Demodulate


def _sound(root: Path, **selected: bool) -> tuple[Collection, ParticipantWork]:
    """What is found, and what is left of it once every voxel has been read."""
    selection = SelectionConfig(**selected)
    found = collect(root, selection)
    config = Config(root, root / "out", root / "work", "uuid", selection=selection)
    return found, with_sound_images([ParticipantWork.of("01", found)], config)[0]


def _only(units: tuple[DenoisingUnit, ...]) -> DenoisingUnit:
    assert len(units) == 1
    return units[0]


def test_every_form_is_one_complex_image(tmp_path):
    """Magnitude and phase, in radians or levels, and real and imaginary parts repeat one image."""
    write_complex_t1w(tmp_path, ["rad", "levels", "cartesian"])
    found, checked = _sound(tmp_path)
    unit = _only(checked.units)
    assert not checked.excluded
    assert (unit.label, unit.uses_phase) == ("sub-01_T1w", True)
    assert [len(image.files) for image in unit.images] == [2, 2, 2]
    text = format_collection(found)
    assert "run-1_part-mag_T1w.nii.gz with sub-01_run-1_part-phase_T1w.nii.gz" in text
    assert "the smooth phase is taken out" in text


@pytest.mark.parametrize("kind", ["T1w", "dwi"])
@pytest.mark.parametrize("form", ["rad", "levels", "cartesian"])
def test_parts_that_do_not_belong_together_are_named(tmp_path, kind, form):
    """Voxels of the second part in another order: with such a phase all signal would be taken out."""
    (write_complex_t1w if kind == "T1w" else write_complex_dwi)(tmp_path, [form, form])
    (path,) = tmp_path.rglob(f"*run-2_part-{'imag' if form == 'cartesian' else 'phase'}_{kind}.nii.gz")
    image = nb.load(path)
    values = np.asarray(image.dataobj).reshape(-1, *image.shape[3:])
    mixed = np.random.default_rng(0).permutation(values).reshape(image.shape)
    if form == "cartesian":
        # A real part alone is smooth, too: that of another part is not.
        (real,) = tmp_path.rglob(f"*run-2_part-real_{kind}.nii.gz")
        nb.save(nb.Nifti1Image(mixed, image.affine), real)
    nb.save(nb.Nifti1Image(mixed, image.affine), path)
    checked = _sound(tmp_path)[1]
    (fault,) = [item for item in checked.excluded if item.is_error]
    assert fault.path == path and "as by chance" in fault.reason
    assert ("--bids-filter-file" if form == "cartesian" else "--ignore-phase") in fault.reason
    assert not any(unit.uses_phase for unit in checked.units if len(unit.images) > 1)


def test_b0s_of_real_and_imaginary_parts_are_compared_by_their_magnitudes(tmp_path):
    """The phase drifts from volume to volume: real parts of one head may be its negative, or nothing."""
    write_complex_dwi(tmp_path, ["cartesian", "cartesian"])
    files = [next(tmp_path.rglob(f"*run-2_part-{part}_dwi.nii.gz")) for part in ("real", "imag")]
    real, imaginary = (nb.load(path).get_fdata(dtype=np.float32) for path in files)
    turned = (real + 1j * imaginary) * np.exp(2j * np.arange(real.shape[-1]))
    for path, part in zip(files, (turned.real, turned.imag), strict=True):
        nb.Nifti1Image(part.astype(np.float32), nb.load(path).affine).to_filename(path)
    checked = _sound(tmp_path)[1]
    assert not checked.excluded
    assert len(_only(checked.units).images) == 2


def test_units_in_other_words_are_radians(tmp_path):
    """The values tell the same."""
    write_complex_t1w(tmp_path, ["rad", "rad"])
    for path in tmp_path.rglob("*_part-phase_T1w.json"):
        path.write_text(json.dumps({"Units": "Radians"}))
    checked = _sound(tmp_path)[1]
    assert _only(checked.units).uses_phase and not checked.excluded


def test_a_phase_belongs_to_a_magnitude_without_part(tmp_path):
    """BIDS: an image without part- is a magnitude; converters name only the phase."""
    write_complex_dwi(tmp_path, ["rad"])
    for path in (tmp_path / "sub-01" / "dwi").glob("*_part-mag_*"):
        path.rename(path.with_name(path.name.replace("_part-mag", "")))
    unit = _only(_sound(tmp_path)[1].units)
    assert unit.uses_phase
    assert [path.name for path in unit.images[0].files] == [
        "sub-01_dwi.nii.gz",
        "sub-01_part-phase_dwi.nii.gz",
    ]


def test_magnitudes_are_denoised_where_asked_or_where_a_phase_is_missing(tmp_path):
    """``--ignore-phase`` keeps the names of today; one run without a phase is told in a note."""
    write_complex_t1w(tmp_path / "all", ["rad", "rad"])
    asked = _only(_sound(tmp_path / "all", ignore_phase=True)[1].units)
    assert (asked.label, asked.uses_phase, asked.notes) == ("sub-01_part-mag_T1w", False, ())
    write_complex_t1w(tmp_path / "some", ["rad", "magnitude"])
    mixed = _only(_sound(tmp_path / "some")[1].units)
    assert (mixed.label, mixed.uses_phase) == ("sub-01_part-mag_T1w", False)
    assert "none that can be used for sub-01_run-2_part-mag_T1w.nii.gz" in mixed.notes[0]


def _scaled(factor: float, offset: float = 0.0, units: str | None = None) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        image = nb.load(path)
        nb.Nifti1Image(image.get_fdata() * factor + offset, image.affine).to_filename(path)
        if units is not None:
            Path(str(path).replace(".nii.gz", ".json")).write_text(json.dumps({"Units": units}))

    return change


def _cropped(path: Path) -> None:
    image = nb.load(path)
    image.slicer[1:].to_filename(path)


def _moved(path: Path) -> None:
    image = nb.load(path)
    nb.Nifti1Image(image.get_fdata(), image.affine + np.eye(4, k=3)).to_filename(path)


BAD_PHASES = {
    "degrees": (_scaled(180 / np.pi), "look like degrees"),
    "0 to 1": (_scaled(0.5 / np.pi, 0.5), "a scale of 0 to 1"),
    "contradicting units": (_scaled(1, units="arbitrary"), "look like radians"),
    "all zero": (_scaled(0), "only zeros"),
    "another grid": (_cropped, "expected the grid"),
    "another place": (_moved, "another place in space"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:3000]), "truncated or damaged"),
    "empty": (lambda path: path.write_bytes(b""), "an empty file"),
    "garbage": (lambda path: path.write_bytes(b"no image " * 99), "expected"),
}


@pytest.mark.parametrize("name", BAD_PHASES)
@pytest.mark.parametrize("kind", ["T1w", "dwi"])
def test_a_bad_phase_is_named_and_its_magnitude_goes_on(tmp_path, name, kind):
    """The error names the file and what it holds; the group is denoised from magnitudes, with a note."""
    write = write_complex_t1w if kind == "T1w" else write_complex_dwi
    write(tmp_path, ["rad", "rad"])
    path = next(tmp_path.rglob("*run-2_part-phase*.nii.gz"))
    change, words = BAD_PHASES[name]
    change(path)
    found, checked = _sound(tmp_path)
    errors = [item for item in (*found.excluded, *checked.excluded) if item.is_error]
    assert {item.path for item in errors} == {path}
    assert words in errors[0].reason
    unit = _only(checked.units)
    assert (len(unit.images), unit.uses_phase) == (2, False)
    assert "run-2_part-mag" in unit.notes[0]


@pytest.mark.parametrize("form", ["rad", "cartesian"])
@pytest.mark.parametrize("kind", ["T1w", "dwi"])
def test_a_second_file_may_be_stored_along_other_axes(tmp_path, kind, form):
    """Its voxels are turned as those of the first are stored: the values are the same to the bit."""
    write = write_complex_t1w if kind == "T1w" else write_complex_dwi
    write(tmp_path, [form, form])
    found, _ = _sound(tmp_path)
    first = _only(found.units).images[0]
    settings = {"form": first.parts.form, "phase_units": first.parts.phase_units}
    files = {"in_file": str(first.path), "second_file": str(first.parts.second)}
    nodes = [Demodulate(**files, **settings).run(cwd=str(_folder(tmp_path / "straight"))).outputs]
    second = nb.load(first.parts.second)
    turned = second.as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
    turned.to_filename(first.parts.second)
    assert turned.shape[:3] != second.shape[:3]
    found, checked = _sound(tmp_path)
    assert not any(item.is_error for item in (*found.excluded, *checked.excluded))
    assert _only(checked.units).uses_phase
    nodes.append(Demodulate(**files, **settings).run(cwd=str(_folder(tmp_path / "turned"))).outputs)
    for name in ("values_file", "phase_file", "magnitude_file"):
        straight, again = (nb.load(getattr(one, name)).get_fdata() for one in nodes)
        assert np.array_equal(straight, again), name


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("name", BAD_PHASES)
@pytest.mark.parametrize("kind", ["T1w", "dwi"])
def test_ignoring_the_phase_is_the_remedy_for_a_bad_one(tmp_path, name, kind):
    """``--ignore-phase``, which the errors recommend, denoises magnitudes, and nothing is an error."""
    write = write_complex_t1w if kind == "T1w" else write_complex_dwi
    write(tmp_path, ["rad", "rad"])
    change, _ = BAD_PHASES[name]
    change(next(tmp_path.rglob("*run-2_part-phase*.nii.gz")))
    found, checked = _sound(tmp_path, ignore_phase=True)
    assert not any(item.is_error for item in (*found.excluded, *checked.excluded))
    unit = _only(checked.units)
    assert (len(unit.images), unit.uses_phase, unit.notes) == (2, False, ())


def test_ignoring_the_phase_still_looks_at_imaginary_parts(tmp_path):
    """A real part without its imaginary one is no magnitude."""
    write_complex_t1w(tmp_path, ["cartesian", "rad", "rad"])
    path = next(tmp_path.rglob("*run-1_part-imag*.nii.gz"))
    path.write_bytes(b"")
    _, checked = _sound(tmp_path, ignore_phase=True)
    assert [item.path for item in checked.excluded if item.is_error] == [path]
    assert [image.entities["run"] for image in _only(checked.units).images] == ["2", "3"]


def test_parts_without_their_counterpart_are_named(tmp_path):
    """A phase without a magnitude, and a real part without an imaginary one; the other runs are used."""
    write_complex_t1w(tmp_path, ["rad", "rad", "rad", "cartesian"])
    folder = tmp_path / "sub-01" / "anat"
    (folder / "sub-01_run-3_part-mag_T1w.nii.gz").unlink()
    (folder / "sub-01_run-4_part-imag_T1w.nii.gz").unlink()
    found, checked = _sound(tmp_path)
    errors = {item.path.name: item.reason for item in found.excluded if item.is_error}
    assert set(errors) == {"sub-01_run-3_part-phase_T1w.nii.gz", "sub-01_run-4_part-real_T1w.nii.gz"}
    assert "expected sub-01_run-3_part-mag_T1w.nii.gz" in errors["sub-01_run-3_part-phase_T1w.nii.gz"]
    assert "expected sub-01_run-4_part-imag_T1w.nii.gz" in errors["sub-01_run-4_part-real_T1w.nii.gz"]
    assert len(_only(checked.units).images) == 2


def test_a_real_part_that_is_a_magnitude_is_named(tmp_path):
    """Without negative values it is no real part: the run is left out, the others are denoised."""
    write_complex_t1w(tmp_path, ["cartesian", "rad", "rad"])
    path = tmp_path / "sub-01" / "anat" / "sub-01_run-1_part-real_T1w.nii.gz"
    _scaled(1, offset=4096)(path)
    _, checked = _sound(tmp_path)
    assert "expected a real or imaginary part" in next(
        item.reason for item in checked.excluded if item.is_error
    )
    assert [image.entities["run"] for image in _only(checked.units).images] == ["2", "3"]


def test_real_and_imaginary_parts_beside_a_magnitude_are_left_out(tmp_path):
    """All four are one image; magnitude and phase are taken."""
    write_complex_t1w(tmp_path, ["rad", "rad"])
    folder = tmp_path / "sub-01" / "anat"
    for part in ("real", "imag"):
        (folder / f"sub-01_run-1_part-{part}_T1w.nii.gz").write_bytes(b"not looked at")
    found, checked = _sound(tmp_path)
    assert not any(item.is_error for item in found.excluded)
    assert len(found.excluded) == 2
    assert _only(checked.units).uses_phase
