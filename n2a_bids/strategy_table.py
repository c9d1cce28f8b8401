"""Table of all strategies: what each needs and takes, its recipes and weights, and where its code is.

Standard library only, so that ``--help`` and the finding of images know it without torch. A new strategy is
one file in ``algorithms/strategies`` and one row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from n2a_bids.errors import ConfigError

Modality = Literal["anat", "dwi", "micr"]

_KINDS = {"anat": "anatomical images", "dwi": "diffusion series", "micr": "micrographs"}


@dataclass(frozen=True, slots=True)
class StrategyFacts:
    """What is known of a strategy without running it."""

    name: str
    """Value of ``--strategy``; the same for anatomy and diffusion where the idea is the same."""
    modality: Modality
    module: str = ""
    """Of its code in `n2a_bids.algorithms.strategies`; empty for ``<modality>.<name>``."""
    denoise: str = "denoise"
    """Function ``denoise(repetitions, settings, context)`` of that module."""
    settings: str = "config"
    """Function ``settings(recipe, *weights)`` of that module."""
    min_repetitions: int = 2
    needs_same_contrast: bool = False
    """Whether the repetitions must have one contrast, so that echoes are refused."""
    needs_gradients: bool = False
    """Whether it works with directions and b-values."""
    has_published_schedule: bool = True
    """Whether ``--recipe faithful`` means anything."""
    has_zero_shot: bool = False
    """Whether ``--recipe zero-shot`` means anything: the strategy can do without training on the images."""
    tells_error: bool = False
    """Whether it knows the error to expect in every voxel of its result."""
    removes_noise_floor: bool = False
    """Whether it takes the Rician bias of magnitudes out, unless ``--keep-noise-floor`` is given."""
    learns_from_another: bool = False
    """Whether a diffusion series alone is denoised better by it with another one of the same table beside."""
    keeps_shipped: bool = False
    """Whether the network of the package stays a candidate where the user gives other weights."""
    weights: tuple[str, ...] = ()
    """Names of the pretrained networks it starts from: first the one that is fine-tuned."""
    faithful_weights: tuple[str, ...] | None = None
    """The same for ``--recipe faithful``; None where they are the same."""

    def weights_of(self, recipe: str) -> tuple[str, ...]:
        """Names of the pretrained networks of a recipe.

        Examples
        --------
        >>> find_strategy("noise2average", "anat").weights_of("faithful")
        ('munet-t1w',)
        """
        if recipe == "faithful" and self.faithful_weights is not None:
            return self.faithful_weights
        return self.weights


TABLE: tuple[StrategyFacts, ...] = (
    StrategyFacts(
        "auto",
        "anat",
        min_repetitions=1,
        has_published_schedule=False,
        has_zero_shot=True,
        tells_error=True,
        removes_noise_floor=True,
        keeps_shipped=True,
        weights=("resunet-t1w", "fusion-t1w"),
    ),
    StrategyFacts("noise2average", "anat", weights=("resunet-t1w",), faithful_weights=("munet-t1w",)),
    StrategyFacts("noise2noise", "anat", needs_same_contrast=True, weights=("resunet-t1w",)),
    StrategyFacts(
        "recorrupted",
        "anat",
        needs_same_contrast=True,
        has_published_schedule=False,
        removes_noise_floor=True,
        weights=("resunet-t1w",),
    ),
    StrategyFacts("mean", "anat", module="mean", min_repetitions=1, has_zero_shot=True, tells_error=True),
    StrategyFacts(
        "auto",
        "dwi",
        has_zero_shot=True,
        min_repetitions=1,
        needs_same_contrast=True,
        needs_gradients=True,
        has_published_schedule=False,
        tells_error=True,
        removes_noise_floor=True,
        learns_from_another=True,
    ),
    StrategyFacts("noise2average", "dwi", module="dwi.networks", denoise="noise2average"),
    StrategyFacts(
        "noise2noise", "dwi", module="dwi.networks", denoise="noise2noise", settings="noise2noise_config"
    ),
    StrategyFacts(
        "recorrupted",
        "dwi",
        module="dwi.auto",
        settings="always_filtered",
        min_repetitions=1,
        needs_same_contrast=True,
        needs_gradients=True,
        has_published_schedule=False,
        removes_noise_floor=True,
    ),
    StrategyFacts("san2n", "dwi", min_repetitions=1, needs_gradients=True),
    StrategyFacts("mean", "dwi", module="mean", min_repetitions=1, has_zero_shot=True),
    StrategyFacts(
        "auto",
        "micr",
        has_published_schedule=False,
        has_zero_shot=True,
        needs_same_contrast=True,
        keeps_shipped=True,
        weights=("resunet-2d",),
    ),
    StrategyFacts("noise2average", "micr", needs_same_contrast=True, weights=("resunet-2d",)),
    StrategyFacts(
        "noise2noise",
        "micr",
        module="micr.networks",
        denoise="noise2noise",
        needs_same_contrast=True,
        weights=("resunet-2d",),
    ),
    StrategyFacts(
        "recorrupted",
        "micr",
        module="micr.networks",
        denoise="recorrupted",
        needs_same_contrast=True,
        has_published_schedule=False,
        weights=("resunet-2d",),
    ),
    StrategyFacts("mean", "micr", module="mean", min_repetitions=1, has_zero_shot=True),
)

STRATEGY_NAMES: tuple[str, ...] = tuple(dict.fromkeys(row.name for row in TABLE))
"""What ``--strategy`` takes, the default first."""


def strategies_of(modality: Modality) -> tuple[StrategyFacts, ...]:
    """All strategies for images of one modality, in the order of the table."""
    return tuple(row for row in TABLE if row.modality == modality)


def find_strategy(name: str, modality: Modality) -> StrategyFacts:
    """Find what is known of a strategy: what it needs, its recipes and weights.

    Parameters
    ----------
    name : str
        As ``--strategy`` takes it.
    modality : {'anat', 'dwi', 'micr'}

    Raises
    ------
    ConfigError
        If there is none of that name for such images; the message lists those that exist.
    """
    known = {row.name: row for row in strategies_of(modality)}
    if name not in known:
        kind = _KINDS[modality]
        raise ConfigError(f"unknown strategy {name!r} for {kind}; choose one of {', '.join(known)}")
    return known[name]


def takes_halves(name: str) -> bool:
    """Whether a strategy needs two diffusion series, so that a single one is split in two for it."""
    return any(row.name == name and row.min_repetitions > 1 for row in strategies_of("dwi"))


def check_recipe(strategy: str, recipe: str) -> None:
    """Refuse a recipe that means nothing for a strategy.

    Raises
    ------
    ConfigError
        If ``faithful`` is asked of a strategy of our own, or ``zero-shot`` of one that has to train.
    """
    if recipe == "zero-shot" and not any(row.has_zero_shot for row in TABLE if row.name == strategy):
        raise ConfigError(
            "--recipe zero-shot: expected a strategy that need not train on the images (auto or mean), "
            f"found {strategy!r}; use --strategy auto, or another recipe"
        )
    if recipe == "faithful" and not any(row.has_published_schedule for row in TABLE if row.name == strategy):
        raise ConfigError(
            f"--recipe faithful: expected a strategy with a published schedule, found {strategy!r}, which is "
            "our own; add --strategy noise2average, or leave the recipe out"
        )


def reason_against(name: str, kind: str) -> str:
    """Why a strategy cannot denoise a kind of group; empty where it can.

    Parameters
    ----------
    name : str
        As ``--strategy`` takes it.
    kind : str
        Kind of `DenoisingUnit`, such as ``anat-echoes``.

    Examples
    --------
    >>> reason_against("san2n", "anat-repeats")
    'denoises diffusion series only'
    >>> reason_against("auto", "anat-echoes")
    ''
    """
    modality: Modality = next(one for one in _KINDS if kind.startswith(one))
    rows = [row for row in TABLE if row.name == name]
    row = next((row for row in rows if row.modality == modality), None)
    if row is None:
        taken = [_KINDS[one] for one in _KINDS if any(other.modality == one for other in rows)]
        return f"denoises {' and '.join(taken)} only"
    if kind == "anat-echoes" and row.needs_same_contrast:
        return "cannot denoise echoes, whose contrast differs"
    if kind == "anat-single" and row.min_repetitions > 1:
        return "needs two repetitions, and there is one"
    if kind == "micr-single" and row.min_repetitions > 1:
        return "needs two exposures, and there is one"
    if kind in ("dwi-single", "dwi-in-place") and row.min_repetitions > 1:
        return "needs two series, or one that can be split in two"
    return ""
