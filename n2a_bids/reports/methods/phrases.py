"""Words for each strategy and candidate in methods text and report, with citations."""

from __future__ import annotations

from n2a_bids.record.denoising import Choice

_PAIRS = (
    "pairs of weighted combinations of the repetitions, which have the same signal and independent noise "
    "(recorruption) [@recorrupted; @generalizedr2r; @noise2noise],"
)
_STRATEGIES = {
    "mean": "the plain mean of the repetitions",
    "noise2noise": (
        "Noise2Noise, in which a network learns to predict one repetition from another [@noise2noise]"
    ),
    "noise2average": (
        "Noise2Average, in which a network learns the residual between each repetition and the average of "
        "all, the average being renewed from the denoised repetitions [@noise2average]"
    ),
    "recorrupted": f"a network trained on {_PAIRS} and applied to the mean",
    "fine-tuned network": f"a pretrained network, fine-tuned on {_PAIRS} and applied to the mean",
    "trained network": f"a network, trained from random weights on {_PAIRS} and applied to the mean",
    "network + non-local bayes": (
        "non-local Bayes guided by that network's estimate, in which similar cubes of voxels are found in "
        "the estimate and denoised together by the covariance that they show there [@nonlocalbayes]"
    ),
    "network + non-local bayes + fusion": (
        "that network's estimate and non-local Bayes guided by it, in which similar cubes of voxels are "
        "denoised together by the covariance that the estimate shows [@nonlocalbayes], joined by a second, "
        "small network that was pretrained on other brains"
    ),
    "network + non-local bayes + fusion + local means": (
        "the same, with its own local means instead of those of the data"
    ),
    "joint network": (
        "a pretrained network that is told the noise level, applied to orthonormal combinations of the echoes"
    ),
    "joint non-local bayes": (
        "non-local Bayes guided by that network's estimate, in which similar cubes of voxels, reaching "
        "through all echoes, are denoised together by the covariance that they show in the estimate "
        "[@nonlocalbayes]"
    ),
    "pretrained network as shipped": (
        "the pretrained network that comes with n2a_bids, which measured better than the "
        "weights that were given, told the noise level and applied to the mean"
    ),
    "pretrained": "a pretrained network that is told the noise level, applied to the mean",
    "local pca": "shrinkage of the local principal components of the series",
    "learned filters": "filters learned from the participant's own images, on top of that shrinkage",
    "non-local bayes": (
        "non-local Bayes over the principal components of the series, in which similar cubes of voxels are "
        "denoised together [@nonlocalbayes], guided by filters learned from the participant's own images"
    ),
    "non-local bayes of two series": (
        "non-local Bayes over the principal components of the series and another one of its group together "
        "[@nonlocalbayes], guided by filters learned from both, wherever that lowered the estimated error"
    ),
    "san2n": "Spatio-Angular Noise2Noise, which learns from neighbouring voxels and directions [@san2n]",
    "mppca": "principal components of the series with a random-matrix threshold (MPPCA), in DIPY [@dipy]",
    "patch2self": "Patch2Self, in DIPY [@dipy]",
}


def chosen_words(chosen: Choice) -> str:
    """What was delivered, without a full stop."""
    return (chosen.description or strategy_words(chosen.name or "unknown")).rstrip(".")


def strategy_words(name: str) -> str:
    """What a strategy or candidate is, in a few words, by the longest known name that it starts with.

    Examples
    --------
    >>> strategy_words("pretrained network (level 1.2)")
    'a pretrained network that is told the noise level, applied to the mean'
    """
    _, plus, steps = name.lower().partition(" + ")
    # What follows a network does not depend on how that was trained.
    words = f"network + {steps}" if plus else name.lower()
    known = [key for key in _STRATEGIES if words.startswith(key)]
    return _STRATEGIES[max(known, key=len)] if known else f'the candidate "{name}"'
