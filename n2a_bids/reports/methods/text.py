"""The methods text: what was really done, from the records of a run.

Text is Markdown with citations as ``[@key]``; :mod:`n2a_bids.reports.methods.citation` turns it into other
formats.
"""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median

from n2a_bids import __version__
from n2a_bids.record.denoising import Choice, DenoisingRecord
from n2a_bids.reports.format import listing
from n2a_bids.reports.methods.phrases import MASKS, compared_words, strategy_words
from n2a_bids.reports.pages.summary import is_single, mean_name
from n2a_bids.reports.records.units import UnitRecord
from n2a_bids.viz.charts import MEANS

_NOT_EXPLAINED = ("mean", "weighted mean", "echoes as measured", "blend", "unknown")
"""Names of candidates that speak for themselves."""
_DENOISE_AGAIN = {
    "T1w": "*sMRIPrep* and *fMRIPrep* do so with every raw T1w image",
    "dwi": "*QSIPrep* does so unless it is given `--denoise-method none`",
}
"""What tools further down do with images of each kind."""


def methods_markdown(units: Sequence[UnitRecord]) -> str:
    """What was done to the given units, a paragraph for each kind of image.

    Parameters
    ----------
    units : sequence of UnitRecord
        Of one participant, or of all. A single unit of its kind is described in detail; several are
        summarised.

    Returns
    -------
    text : str
        Markdown paragraphs; citations as ``[@key]``.
    """
    paragraphs = [_opening()]
    for suffix, title in (("T1w", "T1-weighted images"), ("dwi", "Diffusion-weighted images")):
        group = [
            unit for unit in units if unit.suffix == suffix and (unit.denoising or unit.alignment.repetitions)
        ]
        if group:
            sentences = [*_preparation(group), *_denoising(group), *_training(group), *_outcome(group)]
            paragraphs.append(f"**{title}.** " + " ".join(dict.fromkeys(sentences)))
    advice = _advice({unit.suffix for unit in units if unit.denoising})
    if not advice:
        return "No image was denoised.\n"
    return "\n\n".join([*paragraphs, advice]) + "\n"


def _advice(suffixes: Collection[str]) -> str:
    """Which tools would denoise the images of these kinds once more; empty where there are none."""
    again = [words for suffix, words in _DENOISE_AGAIN.items() if suffix in suffixes]
    if not again:
        return ""
    return f"The images are denoised already and should not be denoised again: {'; '.join(again)}."


def _opening() -> str:
    """The software that everything stands on."""
    return (
        f"Images were denoised with *n2a_bids* {__version__}, a BIDS-App [@bids] built on *Nipype* "
        f"{_version('nipype')} [@nipype]; they were found with *PyBIDS* [@pybids]. Images were read "
        f"and written with *nibabel* {_version('nibabel')} [@nibabel]."
    )


def _preparation(group: Sequence[UnitRecord]) -> list[str]:
    """Mask, distortion, alignment."""
    sentences = []
    masks = dict.fromkeys(words for unit in group if (words := _mask_words(unit)))
    if masks:
        sentences.append(f"The brain was outlined with {listing(list(masks))}.")
    if any(unit.distortion for unit in group):
        sentences.append(
            "Susceptibility distortion was estimated from the pair of b0 images of opposite phase encoding, "
            "and corrected with modulation of the intensity by the Jacobian."
        )
    aligned = [unit for unit in group if unit.alignment.repetitions]
    if aligned:
        sentences.append(_alignment_words(aligned))
    for interpolation in dict.fromkeys(unit.alignment.interpolation for unit in aligned):
        if interpolation:
            sentences.append(f"Interpolation was done in one step: {interpolation}.")
    return sentences + (_alignment_of_one(group[0]) if len(group) == 1 else _alignment_in_sum(aligned))


def _alignment_words(aligned: Sequence[UnitRecord]) -> str:
    """How many repetitions were aligned, and how."""
    if aligned[0].suffix == "dwi":
        return "Volumes were aligned rigidly, and gradient directions were rotated with them."
    numbers = sorted({len(unit.alignment.used) for unit in aligned})
    count = _count(numbers[0]) if len(numbers) == 1 else f"{_count(numbers[0])} to {numbers[-1]}"
    each = " each" if len(aligned) > 1 else ""
    space = aligned[0].alignment.space
    target = ", to the position halfway between them (midspace)" if space == "halfway" else ""
    return (
        f"{count} repetitions{each} were aligned rigidly, within the brain mask, with ANTs{target} [@ants]."
    )


def _mask_words(unit: UnitRecord) -> str | None:
    """How the mask was made, where it is recorded."""
    method = ((unit.denoising and unit.denoising.mask_method) or "").lower()
    return next((words for name, words in MASKS.items() if name in method), None)


def _alignment_of_one(unit: UnitRecord) -> list[str]:
    """Reference, and the repetitions that were left out, by name."""
    sentences = []
    if unit.alignment.reference and len(unit.alignment.repetitions) > 1:
        because = unit.alignment.reference_reason
        reason = f" ({because})" if because else ""
        sentences.append(f"The reference was {_short_name(unit.alignment.reference)}{reason}.")
    for row in unit.alignment.repetitions:
        if not row.accepted:
            reason = row.reason or "it failed a threshold of the alignment"
            sentences.append(f"{_short_name(row.file)} was left out ({reason}).")
    return sentences


def _alignment_in_sum(units: Sequence[UnitRecord]) -> list[str]:
    """How many repetitions were left out of how many groups."""
    excluded = [int(unit.derived.n_left_out or 0) for unit in units]
    if not sum(excluded):
        return []
    groups, total = sum(n_excluded > 0 for n_excluded in excluded), sum(excluded)
    noun, were = ("repetition", "was") if total == 1 else ("repetitions", "were")
    said = f"{_count(total)} {noun} failed a threshold and {were} left out"
    return [f"{said}, in {groups} of {len(units)} groups."]


def _denoising(group: Sequence[UnitRecord]) -> list[str]:
    """Candidates, the choice, and what the chosen ones are."""
    done = [unit for unit in group if unit.denoising]
    sentences = []
    if len(done) < len(group):
        failed = f"{len(group) - len(done)} of {len(group)} groups"
        sentences.append(f"Denoising did not finish for {failed}.")
    names = list(dict.fromkeys(name for unit in done for name in _candidate_names(unit.denoising)))
    if len(names) > 1 and set(MEANS) & set(names):
        for kind in dict.fromkeys("single series" if is_single(unit) else unit.suffix for unit in done):
            sentences.append(_comparison(kind, MEANS, done))
    if "echoes as measured" in names:
        sentences.append(_comparison("echoes", ("echoes as measured",), done))
    chosen = Counter(unit.denoising.chosen.largest_part for unit in done)
    if len(done) == 1:
        asked_mean = done[0].denoising.strategy == "mean"
        itself = "the series as it was aligned" if is_single(done[0]) else f"the {mean_name(done[0])}"
        choice = f"The output is {itself}, as asked." if asked_mean else ""
        sentences.append(choice or _choice_of_one(done[0].denoising.chosen, itself))
    elif done:
        winners = [f"{name} in {count}" for name, count in chosen.most_common()]
        sentences.append(
            f"Of {len(done)} groups, the largest part of the result came from {listing(winners)}."
        )
    others = [name for name in [*names, *chosen] if name not in _NOT_EXPLAINED]
    kinds = dict.fromkeys(strategy_words(name) for name in others)
    known = [kind for kind in kinds if not kind.startswith("the candidate")]
    if known and len(chosen) + len(names) > 1:
        sentences.append(f"Used or compared were {listing(known, '; ')}.")
    elif known:
        sentences.append(f"The strategy was {known[0]}.")
    return sentences


def _comparison(kind: str, baselines: Sequence[str], done: Sequence[UnitRecord]) -> str:
    """How candidates were compared, wherever one of these was among them."""
    records = [unit.denoising for unit in done if set(baselines) & set(_candidate_names(unit.denoising))]
    return compared_words(kind, sum(bool(record.rician) for record in records), len(records))


def _candidate_names(record: DenoisingRecord) -> list[str]:
    """Names of the candidates compared."""
    return [row.name for row in record.candidates or ()]


def _choice_of_one(chosen: Choice, itself: str) -> str:
    """The output in one sentence; `itself` is what candidates were compared with."""
    if chosen.mean_won and chosen.name in MEANS:
        return f"No candidate beat {itself}, which is the output."
    words = chosen.description or strategy_words(chosen.name or "unknown")
    return f"The output is {words.rstrip('.')}."


def _training(group: Sequence[UnitRecord]) -> list[str]:
    """Settings of the networks: recipe, weights, seed, device."""
    sentences = []
    for record in (unit.denoising for unit in group if unit.denoising):
        parts = [f'recipe "{record.recipe}"'] if record.recipe else []
        for weights in (record.weights, *(record.further_weights or ())):
            if weights is not None:
                parts.append(f'pretrained weights "{weights.name}" (SHA-256 {weights.sha256[:12]}...)')
        if record.random_seed is not None:
            parts.append(f"random seed {record.random_seed}")
        if record.device:
            precision = f" in {record.precision}" if record.precision else ""
            parts.append(f"device {record.device_name or record.device}{precision}")
        if parts:
            verb = "Networks were trained" if record.history else "Computations were done"
            sentences.append(f"{verb} with PyTorch {_version('torch')} [@pytorch]: {', '.join(parts)}.")
    return list(dict.fromkeys(sentences))


def _outcome(group: Sequence[UnitRecord]) -> list[str]:
    """Error left, as estimated; averaging alone leaves what it leaves."""
    group = [unit for unit in group if unit.denoising and unit.denoising.strategy != "mean"]
    left = [ratio for unit in group if (ratio := unit.derived.error_ratio)]
    averages = [
        value
        for unit in group
        if (value := unit.measure("denoising.equivalent_averages")) and not is_single(unit)
    ]
    words = "" if len(group) == 1 else "in the median "
    sentences = []
    if left:
        sentences.append(
            f"After denoising, {words}the estimated error (RMSE: noise left and detail lost together) was "
            f"{median(left):.2f} of that {'before' if all(map(is_single, group)) else 'of the plain mean'}."
        )
    if averages:
        sentences.append(
            f"By squared error, this corresponds {words}to a plain average of {median(averages):.3g} "
            "repetitions."
        )
    weighted = [gain for unit in group if (gain := unit.measure("denoising.gain_of_weighting_db"))]
    if weighted:
        where = "" if len(group) == 1 else f" in {len(weighted)} of {len(group)} groups"
        sentences.append(
            f"The noise of the repetitions was unequal{where}: they were weighed by their inverse noise "
            f"variance, which accounts for {median(weighted):.2g} dB of the gain."
        )
    return sentences


def _count(count: int) -> str:
    """Small numbers in words, as at the start of a sentence."""
    words = (
        "No",
        "One",
        "Two",
        "Three",
        "Four",
        "Five",
        "Six",
        "Seven",
        "Eight",
        "Nine",
        "Ten",
        "Eleven",
        "Twelve",
    )
    return words[int(count)] if 0 <= int(count) < len(words) else str(int(count))


def _short_name(file: object) -> str:
    """File name without folders and extension."""
    return Path(str(file)).name.split(".")[0]


def _version(package: str) -> str:
    """Version of an installed package, empty when it is not installed."""
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return ""
