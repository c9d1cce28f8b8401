"""What every process of a torchrun does in tests: trains a small network, and keeps what it has learned.

``torchrun --nproc-per-node 2 training_together.py FOLDER NAME [--stop]``; with ``--stop`` it ends, as if
it had been killed, when the checkpoint of the first epoch is written.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from n2a_bids.algorithms.nn import weights as networks
from n2a_bids.algorithms.nn.networks import ResidualUNet
from n2a_bids.config import TrainConfig
from n2a_bids.training import course, session
from n2a_bids.training.request import TrainRequest

TRAIN = TrainConfig(epochs=3, steps=1, batch_size=1, block_edge=8, from_scratch=True)
"""One step in an epoch: the blocks of each can then be told from the seed alone."""
_SUBJECTS = ("01", "02", "03", "04")


def write_runs(folder: Path) -> None:
    """Two noisy runs and the mask of four small heads."""
    shape = (20, 22, 18)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    mask = (grid**2).sum(axis=0) < 0.8
    for number, label in enumerate(_SUBJECTS):
        rng = np.random.default_rng(number)
        texture = ndimage.gaussian_filter(rng.standard_normal(shape), 2)
        clean = np.where(mask, 500 + 150 * texture / texture.std(), 0)
        images = {f"run-{run}_T1w": clean + 60 * rng.standard_normal(shape) for run in (1, 2)}
        for name, image in (images | {"mask": mask}).items():
            file = nib.Nifti1Image(image.astype(np.float32), np.eye(4))
            nib.save(file, folder / f"sub-{label}_{name}.nii.gz")


def train_small(folder: Path, name: str, train: TrainConfig = TRAIN) -> dict[str, torch.Tensor]:
    """Train from random weights on `write_runs`; what this process has learned, running average apart."""
    networks.NETWORKS["resunet-t1w"] = partial(ResidualUNet, widths=(4, 8), depths=(1, 1))
    session.load_weights = lambda network: None
    session.LEVELS = (1.0,)
    session._refuse_worse = lambda *judged: None
    states = []
    make_state = session.new_state
    session.new_state = lambda *given: states.append(make_state(*given)) or states[-1]
    runs = [[str(folder / f"sub-{label}_run-{run}_T1w.nii.gz") for run in (1, 2)] for label in _SUBJECTS]
    masks = tuple(folder / f"sub-{label}_mask.nii.gz" for label in _SUBJECTS)
    pairs = tuple(map(",".join, runs))
    asked = TrainRequest(
        folder / name, folder / f"{name}.pt", pairs, masks, train=train, device="cpu", omp_nthreads=1
    )
    session.run_train(asked)
    state = states[0]
    modules = {"network": state.network, "averaged": state.averaged}
    return {
        f"{key}.{part}": value for key, one in modules.items() for part, value in one.state_dict().items()
    }


def _stop_after_first_epoch() -> None:
    save = course.save_course

    def save_and_stop(*given: object) -> None:
        save(*given)
        raise SystemExit(3)

    course.save_course = save_and_stop


if __name__ == "__main__":
    if "--stop" in sys.argv:
        _stop_after_first_epoch()
    place, title = Path(sys.argv[1]), sys.argv[2]
    learned = train_small(place, title)
    torch.save(learned, place / f"{title}-of-{os.environ['RANK']}.pt")
