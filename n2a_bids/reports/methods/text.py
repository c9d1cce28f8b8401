"""Makes the methods text of a finished run from its records and ``data/templates/methods.md``.

The sentences stand in ``data/templates/methods.md`` and, those that workflows carry as well, in
``data/sentences.yml``; here is what they are made from. Text is Markdown with
citations as ``[@key]``; :mod:`n2a_bids.reports.methods.citation` turns it into other formats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from types import MappingProxyType

from n2a_bids import __version__
from n2a_bids.enumeration import listing
from n2a_bids.record.candidate_names import MEANS
from n2a_bids.record.denoising import DenoisingRecord
from n2a_bids.reports.methods.phrases import chosen_words, strategy_words
from n2a_bids.reports.records.unit_record import UnitRecord
from n2a_bids.reports.templates import environment
from n2a_bids.sentences import MIDSPACE, compared, mask_words, sentence, titles
from n2a_bids.system.packages import package_version

_NOT_EXPLAINED = ("mean", "weighted mean", "echoes as measured", "blend", "unknown")
"""Names of candidates that speak for themselves."""
_DENOISE_AGAIN = {
    "T1w": "*sMRIPrep* and *fMRIPrep* do so with every raw T1w image",
    "dwi": "*QSIPrep* does so unless it is given `--denoise-method none`",
}
"""What tools further down do with images of each kind."""
_SMALL_NUMBERS = (
    *("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven"),
    "Twelve",
)


def methods_markdown(units: Sequence[UnitRecord], planned: Mapping[str, str] = MappingProxyType({})) -> str:
    """What was done to the given units, a paragraph for each kind of image.

    Parameters
    ----------
    units : sequence of UnitRecord
        Of one participant, or of all. A single unit of its kind is described in detail; several are
        summarised.
    planned : mapping of str to str
        By suffix, what a run that has not begun will do, as its workflows describe it.

    Returns
    -------
    text : str
        Markdown paragraphs; citations as ``[@key]``.
    """
    found = [unit for unit in units if unit.denoising or unit.alignment.repetitions]
    groups = {suffix: tuple(unit for unit in found if unit.suffix == suffix) for suffix in titles()}
    denoised = {unit.suffix for unit in found if unit.denoising}
    page = environment()
    page.globals |= {"sentence": sentence, "compared": compared, "midspace": MIDSPACE}
    page.filters |= {"listing": listing, "in_words": _in_words, "stem": _stem, "median": median}
    text = page.get_template("methods.md").render(
        images=[ImagesOfKind(suffix, group) for suffix, group in groups.items() if group and denoised],
        planned=list(planned.values()),
        advice=[words for suffix, words in _DENOISE_AGAIN.items() if suffix in denoised | planned.keys()],
        n2a_version=__version__,
        version=lambda package: package_version(package).split("+")[0],
    )
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


@dataclass(frozen=True, slots=True)
class Computation:
    """How networks were trained or applied."""

    recipe: str
    weights: tuple[tuple[str, str], ...]
    """Name and SHA-256 of each file."""
    random_seed: int | None
    device: str
    precision: str
    trained: bool

    @property
    def is_known(self) -> bool:
        """Whether any of it was recorded."""
        return bool(self.recipe or self.weights or self.device) or self.random_seed is not None


@dataclass(frozen=True)
class ImagesOfKind:
    """What the text tells of all units of one kind of image."""

    suffix: str
    """``dwi``, ``T1w`` or another one of `n2a_bids.contrasts`."""
    units: tuple[UnitRecord, ...]

    @property
    def title(self) -> str:
        """The kind, in words."""
        return titles()[self.suffix]

    @property
    def masks(self) -> list[str]:
        """How the brain was outlined, where it is recorded."""
        methods = ((unit.denoising and unit.denoising.mask_method) or "" for unit in self.units)
        return list(dict.fromkeys(filter(None, map(mask_words, methods))))

    @property
    def has_eddy_currents(self) -> bool:
        """Whether displacements by eddy currents were found and undone in any group."""
        return any(row.eddy_currents_mm for unit in self.aligned for row in unit.alignment.used)

    @property
    def has_distortion(self) -> bool:
        """Whether distortion was corrected in some of them."""
        return any(unit.distortion for unit in self.units)

    @property
    def atlases(self) -> list[str]:
        """Names of the atlases in whose regions noise was measured."""
        return list(dict.fromkeys(unit.regions.atlas for unit in self.units if unit.regions))

    @cached_property
    def aligned(self) -> list[UnitRecord]:
        """Units whose alignment is recorded."""
        return [unit for unit in self.units if unit.alignment.repetitions]

    @property
    def n_used(self) -> list[int]:
        """Numbers of repetitions that were used, each once."""
        return sorted({len(unit.alignment.used) for unit in self.aligned})

    @property
    def interpolations(self) -> list[str]:
        """How images were brought to one grid."""
        return list(filter(None, dict.fromkeys(unit.alignment.interpolation for unit in self.aligned)))

    @property
    def n_left_out(self) -> list[int]:
        """Repetitions that were left out, of each unit."""
        return [int(unit.derived.n_left_out or 0) for unit in self.aligned]

    @cached_property
    def done(self) -> list[UnitRecord]:
        """Units whose denoising finished."""
        return [unit for unit in self.units if unit.denoising]

    @cached_property
    def candidates(self) -> list[str]:
        """Names of all candidates that were compared."""
        return list(dict.fromkeys(name for unit in self.done for name in _candidates(unit.denoising)))

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """Kinds of comparison, and whether ``all``, ``some`` or ``none`` were freed of the Rician bias."""
        found = {}
        if len(self.candidates) > 1 and set(MEANS) & set(self.candidates):
            kinds = (f"single {unit.image_noun}" if unit.is_single else unit.datatype for unit in self.done)
            found |= dict.fromkeys(kinds, MEANS)
        if "echoes as measured" in self.candidates:
            found["echoes"] = ("echoes as measured",)
        return [(kind, self._bias_removed(baselines)) for kind, baselines in found.items()]

    def _bias_removed(self, baselines: Sequence[str]) -> str:
        records = [unit.denoising for unit in self.done if set(baselines) & set(_candidates(unit.denoising))]
        n_unbiased = sum(bool(record.rician) for record in records)
        return "none" if not n_unbiased else "all" if n_unbiased == len(records) else "some"

    @property
    def baseline(self) -> str:
        """What the candidates of a single unit were compared with."""
        unit = self.done[0]
        return f"the {unit.image_noun} as it was aligned" if unit.is_single else f"the {unit.mean_name}"

    @property
    def baseline_won(self) -> bool:
        """Whether that is the output of a single unit."""
        chosen = self.done[0].denoising.chosen
        return chosen.mean_won and chosen.name in MEANS

    @property
    def choice(self) -> str:
        """The output of a single unit, in words."""
        return chosen_words(self.done[0].denoising.chosen)

    @cached_property
    def _chosen(self) -> Counter[str]:
        return Counter(unit.denoising.chosen.largest_part for unit in self.done)

    @property
    def winners(self) -> list[str]:
        """What the largest part of the results came from, and how often."""
        return [f"{name} in {count}" for name, count in self._chosen.most_common()]

    @property
    def are_compared(self) -> bool:
        """Whether there was more than the one strategy."""
        return len(self._chosen) + len(self.candidates) > 1

    @property
    def explained(self) -> list[str]:
        """Strategies and candidates that need an explanation, in words."""
        names = [name for name in [*self.candidates, *self._chosen] if name not in _NOT_EXPLAINED]
        words = dict.fromkeys(strategy_words(name) for name in names)
        return [word for word in words if not word.startswith("the candidate")]

    @property
    def computations(self) -> list[Computation]:
        """Settings of the networks, each set once."""
        found = (_computation(unit.denoising) for unit in self.done)
        return [one for one in dict.fromkeys(found) if one.is_known]

    @cached_property
    def improved(self) -> list[UnitRecord]:
        """Units that were more than averaged."""
        return [unit for unit in self.done if unit.denoising.strategy != "mean"]

    @property
    def all_single(self) -> bool:
        """Whether each of these is one image only, which is its own mean."""
        return all(unit.is_single for unit in self.improved)

    @property
    def error_ratio(self) -> float | None:
        """Median of the estimated error, over that of the plain mean."""
        return _median(unit.derived.error_ratio for unit in self.improved)

    @property
    def equivalent_averages(self) -> float | None:
        """Median of the plain averages that the results correspond to."""
        repeated = (unit for unit in self.improved if not unit.is_single)
        return _median(unit.measure("denoising.equivalent_averages") for unit in repeated)

    @property
    def weighting_gains(self) -> list[float]:
        """Gains of weighting by noise in dB, where there were any."""
        gains = (unit.measure("denoising.gain_of_weighting_db") for unit in self.improved)
        return [gain for gain in gains if gain]


def _candidates(record: DenoisingRecord) -> list[str]:
    """Names of the candidates compared."""
    return [row.name for row in record.candidates or ()]


def _computation(record: DenoisingRecord) -> Computation:
    files = (record.weights, *(record.further_weights or ()))
    return Computation(
        recipe=record.recipe or "",
        weights=tuple((weights.name, weights.sha256) for weights in files if weights is not None),
        random_seed=record.random_seed,
        device=(record.device_name or record.device) if record.device else "",
        precision=record.precision or "",
        trained=bool(record.history),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value]
    return median(known) if known else None


def _in_words(count: int) -> str:
    """Small numbers in words, as at the start of a sentence."""
    return _SMALL_NUMBERS[count] if 0 <= count < len(_SMALL_NUMBERS) else str(count)


def _stem(file: str) -> str:
    """File name without folders and extension."""
    return Path(file).name.split(".")[0]
