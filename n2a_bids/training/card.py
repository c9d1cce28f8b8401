"""Writes trained weights with their model card."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from n2a_bids import __version__
from n2a_bids.algorithms.dataset_training.evaluation import Evaluation
from n2a_bids.algorithms.nn.weights import PretrainedWeights
from n2a_bids.config import TrainConfig
from n2a_bids.io.weights import save_weights
from n2a_bids.record.typed_json import JsonObject
from n2a_bids.training.course import Course
from n2a_bids.training.groups import AlignedGroup, Split, are_fields

_OF_HEADS = (
    "Learned from images of one dataset: use it for images of the same scanner, protocol and kind of "
    "participants. What is rare in them, such as lesions, it has hardly seen."
)
_OF_MICROGRAPHS = (
    "Learned from micrographs of one dataset: use it for images of the same microscope, magnification and "
    "preparation. What is rare in them it has hardly seen."
)
_OF_FIELDS = " It was judged on other fields of view of the same specimens, not on other specimens."
_GAINS = (
    " Gains are estimated from noisy repetitions without a truth; whether it is used for an image is decided "
    "there again, against the mean and the shipped network (strategy auto)."
)
_LICENCE = "That of whoever trained it: the weights follow from the images named here and their terms of use."


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """Trained weights, with all that their model card tells."""

    weights: PretrainedWeights
    groups: Sequence[AlignedGroup]
    split: Split
    config: TrainConfig
    random_seed: int
    course: Course
    test: Sequence[Evaluation]
    """On the test subjects, of this network and of the shipped one."""
    shipped: PretrainedWeights | None

    @property
    def card(self) -> JsonObject:
        """The model card, but for name and checksum."""
        config, course, shipped = self.config, self.course, self.shipped
        return {
            "network": self.weights.name,
            "n_parameters": sum(tensor.numel() for tensor in self.weights.tensors.values()),
            "version": __version__,
            "recipe": asdict(config) | {"rate": config.peak_rate},
            "random_seed": self.random_seed,
            "kept_apart": "fields of view" if are_fields(self.groups) else "subjects",
            "subjects": {name: list(labels) for name, labels in asdict(self.split).items()},
            "groups": [{"name": group.name, "n_repetitions": len(group.runs)} for group in self.groups],
            "epoch": course.best_epoch,
            "seconds": round(course.seconds),
            "validation_gain_db": round(course.best_gain_db, 3),
            "test_gain_db": [
                {"subject": one.subject, **{name: round(one.gain_db(name), 3) for name in one.error_left}}
                for one in self.test
            ],
            "initial_weights_sha256": shipped.sha256 if shipped and not config.from_scratch else "",
            "compared_with_sha256": shipped.sha256 if shipped else "",
            "curve": course.curve,
            "limits": self._limits,
            "licence": _LICENCE,
        }

    @property
    def _limits(self) -> str:
        about = _OF_MICROGRAPHS if self.groups[0].micrograph else _OF_HEADS
        return about + (_OF_FIELDS if are_fields(self.groups) else "") + _GAINS


def write_trained(trained: TrainedNetwork, folder: Path) -> Path:
    """Write weights and model card, so that a reader never meets weights without the card that fits.

    Parameters
    ----------
    folder : Path
        Created where needed.

    Returns
    -------
    path : Path
        The safetensors file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{trained.weights.name}.safetensors"
    made = Path(tempfile.mkdtemp(prefix=".n2a_", dir=folder))
    try:
        written = save_weights(trained.weights, made, trained.card)
        # Earlier weights go first: in between there are none, rather than two that do not fit.
        path.unlink(missing_ok=True)
        os.replace(written.with_suffix(".json"), path.with_suffix(".json"))
        os.replace(written, path)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return path
