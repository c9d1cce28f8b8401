"""Summary at the top of a report page: outcome in two sentences, and cards with numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from n2a_bids.contrasts import find_contrast
from n2a_bids.enumeration import listing
from n2a_bids.record.candidate_names import candidate_name
from n2a_bids.record.denoising import Choice, DenoisingRecord
from n2a_bids.reports.format import duration, number
from n2a_bids.reports.methods.phrases import chosen_words
from n2a_bids.reports.records.unit_record import UnitRecord


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome in two sentences."""

    tone: Literal["good", "warn", "bad"]
    head: str
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """One number of the summary."""

    title: str
    value: str
    remark: str = ""


_AS_IT_IS = {
    (True, False): Verdict(
        "good", "Averaged, as asked.", "The output is the plain mean: nothing else was tried."
    ),
    (True, True): Verdict(
        "good", "Not denoised, as asked.", "The output is the single {image} as it was aligned."
    ),
    (False, False): Verdict(
        "warn",
        "The {mean} won.",
        "No candidate was clearly better on data it had not seen, so the output is the {mean} of the "
        "aligned repetitions: no worse than averaging, and no better.",
    ),
    (False, True): Verdict(
        "warn",
        "The {image} was left as it is.",
        "No candidate was clearly better on data it had not seen, so the output is the {image} as it was "
        "aligned.",
    ),
}
"""What is said where nothing was denoised: whether that was asked for, and whether a series is alone."""


_ALONE = {
    "dwi": "alone: its own volumes tell the noise",
    "micr": "alone",
    "anat": "alone: noise estimated from it, nothing independent to check the result",
}


def verdict(unit: UnitRecord) -> Verdict:
    """What was chosen, and whether it is better than what it was compared with."""
    record = unit.denoising
    if not record:
        return Verdict("bad", "Denoising did not finish.", "There is no denoised image of this group.")
    chosen = record.chosen
    asked = record.strategy == "mean"
    if asked or chosen.mean_won:
        said = _AS_IT_IS[asked, unit.is_single]
        names = {"mean": unit.mean_name, "image": unit.image_noun}
        head, text = (words.format(**names) for words in (said.head, said.text))
        return replace(said, head=head, text=text + ("" if asked else _of_echoes(chosen)))
    words = chosen_words(chosen)
    text = f"{words[:1].upper()}{words[1:]}."
    averages = unit.measure("denoising.equivalent_averages")
    if averages and not unit.is_single:
        text += (
            f" Its estimated squared error is that of a plain average of {number(averages)} repetitions"
            f"{_of_weighting(unit)}."
        )
    return Verdict("good", "Denoised.", text + _where_mean_is_better(unit))


def _where_mean_is_better(unit: UnitRecord) -> str:
    """The part of the brain where averaging alone is expected to err less, where that is known."""
    part = unit.measure("denoising.mean_better")
    if part is None:
        return ""
    if part < 0.0005:
        return " Nowhere in the brain is the plain mean expected to be better."
    return f" In {100 * part:.1f} % of the brain the plain mean is expected to be better."


def _of_weighting(unit: UnitRecord) -> str:
    """The part of the gain that weighing by noise has, where there is one."""
    gain = unit.measure("denoising.gain_of_weighting_db")
    if not gain:
        return ""
    return f" of the average noise, {number(gain)} dB of it by weighing the repetitions by their noise"


def _of_echoes(chosen: Choice) -> str:
    """Each echo is an output, too."""
    return " Each echo is as it was measured." if chosen.name == "echoes as measured" else ""


def nature(unit: UnitRecord) -> str:
    """Which images went in."""
    files = [row.file for row in unit.alignment.used]
    files = files or [row.file for row in (unit.denoising and unit.denoising.repetitions) or ()]
    names = [Path(file).name.split(".")[0] for file in files if file]
    if not names:
        return ""
    if len(names) > 1 and len(set(names)) == 1:
        return f"Made from {len(names)} sums of the frames of {names[0]}."
    is_real = unit.denoising is not None and bool(unit.denoising.real_valued)
    words = (
        " Complex data: the smooth phase was taken out; the real part, which has no noise floor, denoised."
    )
    return f"Made from {_counted(len(names), unit)}: {listing(names)}.{words * is_real}"


def noise_words(unit: UnitRecord) -> str:
    """How alike the noise of neighbours is, and what was acquired of what is stored, in one sentence.

    Returns
    -------
    words : str
        Empty where nothing is known.
    """
    model = unit.denoising and unit.denoising.noise_model
    if not model or model.fwhm_voxels is None:
        return ""
    times = " \N{MULTIPLICATION SIGN} "
    words = f"Noise FWHM {times.join(f'{width:.1f}' for width in model.fwhm_voxels)} voxels"
    words += " (white)" if model.is_white else ""
    if model.acquired_matrix is None or model.stored_matrix is None:
        return f"{words}."
    acquired, stored = (times.join(map(str, one)) for one in (model.acquired_matrix, model.stored_matrix))
    if model.acquired_matrix == model.stored_matrix:
        words += f"; acquired matrix {stored}, as stored"
    else:
        words += f"; acquired matrix about {acquired}, stored {stored}"
    if model.elliptical_plane:
        words += f"; corners of k-space empty in the plane {model.elliptical_plane}"
    parts = zip("ijk", model.partial_fourier or (), strict=False)
    partial = [f"{round(8 * part)}/8 along {axis}" for axis, part in parts if part < 1]
    return words + (f"; partial Fourier about {listing(partial)}." if partial else ".")


def _counted(count: int, unit: UnitRecord) -> str:
    """A number of images, as ``2 T1-weighted images`` or ``one diffusion series``."""
    if unit.datatype == "micr":
        image = f"{unit.suffix} exposure"
    else:
        image = "" if unit.suffix == "dwi" else f"{find_contrast(unit.suffix).words} image"
    kind = f"{image}{'' if count == 1 else 's'}" if image else "diffusion series"
    return f"{'one' if count == 1 else count} {kind}"


def cards(unit: UnitRecord) -> list[Card]:
    """The numbers that a reader wants first."""
    record = unit.denoising
    excluded = unit.derived.n_left_out
    kind = "diffusion series" if unit.suffix == "dwi" else f"{unit.suffix} images"
    count = number(unit.measure("denoising.n_repetitions"))
    found = [
        Card(unit.image_noun.capitalize(), count, _ALONE[unit.datatype])
        if unit.is_single
        else Card("Repetitions used", count, f"{excluded} left out" if excluded else kind),
        Card("Output", _output_name(unit), _settings(record)),
    ]
    found += [*_quality(unit), *_movement(unit)]
    seconds = unit.measure("denoising.seconds.total")
    if seconds is not None:
        found.append(Card("Time to denoise", duration(seconds), _machine(record)))
    return found


def _movement(unit: UnitRecord) -> list[Card]:
    """Motion between repetitions, and between the volumes of a series."""
    found, derived = [], unit.derived
    if derived.max_drift_pixels is not None:
        what = "frame" if unit.alignment.frame_drift_pixels else "exposure"
        drift = f"{derived.max_drift_pixels:.1f} pixels"
        found.append(Card("Largest drift", drift, f"from the first {what}, undone"))
    elif derived.max_rotation_deg is not None and len(unit.alignment.used) > 1:
        moved = _sizes(derived.max_rotation_deg, derived.max_translation_mm or 0)
        found.append(Card("Largest movement", moved, "between repetitions, undone"))
    volumes = [row.volumes for row in unit.alignment.used if row.volumes]
    if volumes:
        largest = _sizes(
            max(max(one.rotation_deg, default=0) for one in volumes),
            max(max(one.translation_mm, default=0) for one in volumes),
        )
        found.append(_head_motion(derived.mean_framewise_displacement_mm, largest))
        if derived.eddy_currents_mm:
            what_became = "left" if unit.alignment.in_place else "undone"
            moved = f"largest displacement of a part of the brain, {what_became}"
            found.append(Card("Eddy currents", f"{derived.eddy_currents_mm:.1f} mm", moved))
    return found


def _head_motion(mean_framewise_displacement_mm: float | None, largest: str) -> Card:
    """Motion within the series, as the charts show it."""
    if mean_framewise_displacement_mm is None:
        return Card("Head motion", largest, "largest, between volumes of a series, undone")
    value = f"{mean_framewise_displacement_mm:.2f} mm"
    return Card("Head motion", value, f"mean framewise displacement; up to {largest} from the first b0")


def _sizes(rotation_deg: float, translation_mm: float) -> str:
    """Rotation and translation in one line."""
    return f"{rotation_deg:.1f}\N{DEGREE SIGN}, {translation_mm:.1f} mm"


def _quality(unit: UnitRecord) -> list[Card]:
    """Error and sharpness, against the mean, or against the single series before denoising."""
    record, derived = unit.denoising, unit.derived
    baseline, of_baseline = (
        (unit.image_noun, "of that before") if unit.is_single else ("plain mean", "of the mean's")
    )
    found = []
    if derived.error_ratio:
        before, after = record.noise_sd_mean, record.error_denoised
        percent = round(100 * (derived.error_ratio - 1))
        change = f"RMSE, {baseline} to denoised, {percent:+d} %" if percent else f"RMSE, as in the {baseline}"
        change = change.replace("-", "\N{MINUS SIGN}")
        found.append(
            Card("Estimated error", f"{number(before)} \N{RIGHTWARDS ARROW} {number(after)}", change)
        )
    averages = unit.measure("denoising.equivalent_averages")
    if averages and not unit.is_single:
        found.append(Card("Equivalent averages", number(averages), "of the same squared error"))
    if derived.sharpness_ratio:
        found.append(Card("Sharpness kept", f"{derived.sharpness_ratio:.2f}", f"{of_baseline}; 1 is no blur"))
    return found


def _output_name(unit: UnitRecord) -> str:
    """Name of what was delivered."""
    chosen = unit.denoising.chosen
    name = chosen.name or unit.denoising.strategy or "unknown"
    if chosen.mean_won or name == "mean":
        return f"{unit.image_noun} as it is" if unit.is_single else unit.mean_name
    return candidate_name(name)


def _settings(record: DenoisingRecord) -> str:
    """Strategy and recipe."""
    parts = [f"strategy {record.strategy}"] if record.strategy else []
    return ", ".join(parts + ([f"recipe {record.recipe}"] if record.recipe else []))


def _machine(record: DenoisingRecord) -> str:
    """Device and memory."""
    parts = [record.device_name or record.device or ""]
    if record.peak_memory_mb is not None:
        parts.append(f"peak {record.peak_memory_mb / 1000:.1f} GB")
    return ", ".join(part for part in parts if part)
