"""What is said of each strategy, comparison and mask in the methods text, with citations as ``[@key]``."""

from __future__ import annotations

_STRATEGIES = {
    "mean": "the plain mean of the repetitions",
    "noise2noise": (
        "Noise2Noise, in which a network learns to predict one repetition from another [@noise2noise]"
    ),
    "noise2average": (
        "Noise2Average, in which a network learns the residual between each repetition and the average of "
        "all, the average being renewed from the denoised repetitions [@noise2average]"
    ),
    "recorrupted": (
        "recorruption, in which weighted combinations of the repetitions give pairs of images with the same "
        "signal and independent noise; a network is trained on these and applied to the mean "
        "[@recorrupted; @generalizedr2r; @noise2noise]"
    ),
    "recorrupted, non-local bayes": (
        "non-local Bayes guided by that network's estimate, in which similar cubes of voxels are found in "
        "the estimate and denoised together by the covariance that they show there [@nonlocalbayes]"
    ),
    "recorrupted, fused": (
        "that network's estimate and non-local Bayes guided by it, in which similar cubes of voxels are "
        "denoised together by the covariance that the estimate shows [@nonlocalbayes], joined by a second, "
        "small network that was pretrained on other brains"
    ),
    "joint network": (
        "a pretrained network that is told the noise level, applied to orthonormal combinations of the echoes"
    ),
    "joint non-local bayes": (
        "non-local Bayes guided by that network's estimate, in which similar cubes of voxels, reaching "
        "through all echoes, are denoised together by the covariance that they show in the estimate "
        "[@nonlocalbayes]"
    ),
    "pretrained": "a pretrained network that is told the noise level, applied to the mean",
    "local pca": "shrinkage of the local principal components of the series",
    "learned filters": "filters learned from the participant's own images, on top of that shrinkage",
    "non-local bayes": (
        "non-local Bayes over the principal components of the series, in which similar cubes of voxels are "
        "denoised together [@nonlocalbayes], guided by filters learned from the participant's own images"
    ),
    "san2n": "Spatio-Angular Noise2Noise, which learns from neighbouring voxels and directions [@san2n]",
    "mppca": "principal components of the series with a random-matrix threshold (MPPCA), in DIPY [@dipy]",
    "patch2self": "Patch2Self, in DIPY [@dipy]",
}
COMPARED = {
    "T1w": (
        "Candidates, the plain mean among them, were compared by their squared error on held-out parts of "
        "the brain, measured against combinations of the repetitions whose noise is independent of the "
        "input, so that no clean image was needed [@generalizedr2r; @noise2noise]. Local means of the "
        "averaged image, less its Rician bias, are kept (over a Gaussian of two voxels SD) where that pays."
    ),
    "echoes": (
        "Candidates, the echoes as measured among them, were compared by their squared error on held-out "
        "parts of the brain, measured against images with the same signal and independent noise, which were "
        "made with simulated white noise of the estimated level [@recorrupted]. Local means of the "
        "combinations, less their Rician bias, are kept (over a Gaussian of two voxels SD for the strongest, "
        "four for the others)."
    ),
    "dwi": (
        "Candidates, the series as averaged among them, were compared by an estimate of their squared "
        "error that needs no clean image."
    ),
}
MASKS = {
    "deepbet": "deepbet [@deepbet]",
    "derivatives": "a mask given by the user",
    "user": "a mask given by the user",
    "otsu": "a threshold on the median-filtered b0 image, with DIPY [@dipy]",
    "template": "registration of a template with ANTs [@ants]",
    "ants": "registration of a template with ANTs [@ants]",
}


def strategy_words(name: str) -> str:
    """What a strategy or candidate is, in a few words, by the longest known name that it starts with.

    Examples
    --------
    >>> strategy_words("pretrained, level 1.2")
    'a pretrained network that is told the noise level, applied to the mean'
    """
    known = [key for key in _STRATEGIES if name.lower().startswith(key)]
    return _STRATEGIES[max(known, key=len)] if known else f'the candidate "{name}"'
