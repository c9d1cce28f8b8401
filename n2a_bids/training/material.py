"""Aligned repetitions of many subjects: which files, of whom, and how the subjects are split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from n2a_bids.config import TrainConfig
from n2a_bids.dataset.names import parse_name
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.io.files import write_whole

_MOST_KEPT_APART = 4


@dataclass(frozen=True, slots=True)
class AlignedGroup:
    """Aligned repetitions of one subject, or one image alone, as files on one grid."""

    subject: str
    name: str
    """What the model card calls it."""
    runs: tuple[Path, ...]
    mask: Path
    measured: Path | None = None
    """How many runs were measured at each voxel, where some have gaps."""
    real_valued: bool = False
    """Real parts of complex images."""


@dataclass(frozen=True, slots=True)
class Split:
    """Subjects by what they are for; none is in two."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    """On which the epoch is chosen."""
    test: tuple[str, ...]
    """On which the result is compared with the shipped weights."""


def write_groups(groups: Sequence[AlignedGroup], path: Path) -> Path:
    """Write groups as JSON, as `read_groups` takes them."""
    rows = [asdict(group) for group in groups]
    return write_whole(path, json.dumps(rows, indent=1, default=str) + "\n")


def read_groups(path: Path) -> list[AlignedGroup]:
    """Read what `write_groups` wrote.

    Raises
    ------
    ConfigError
        If the file cannot be read as such.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [
            AlignedGroup(
                subject=str(row["subject"]),
                name=str(row["name"]),
                runs=tuple(map(Path, row["runs"])),
                mask=Path(row["mask"]),
                measured=Path(row["measured"]) if row.get("measured") else None,
                real_valued=bool(row.get("real_valued")),
            )
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: expected a JSON list of groups (subject, name, runs, mask), found none that can be "
            f"read ({error!r}); correct --groups"
        ) from error


def groups_of_pairs(pairs: Sequence[str], masks: Sequence[Path]) -> list[AlignedGroup]:
    """Groups as the command line names them: one word for each group, its runs between commas.

    A first run that is named as in BIDS tells whose it is, so that sessions of one subject stay together;
    others are subjects by themselves.

    Raises
    ------
    ConfigError
        If there is not one mask for each group, a name is empty or stands twice.

    Examples
    --------
    >>> one, two = groups_of_pairs(["a1.nii,a2.nii", "b.nii"], [Path("a_mask.nii"), Path("b_mask.nii")])
    >>> one.subject, len(one.runs), len(two.runs)
    ('a1', 2, 1)
    >>> groups_of_pairs(["sub-01_ses-2_run-1_T1w.nii,r2.nii"], [Path("mask.nii")])[0].subject
    '01'
    """
    if len(pairs) != len(masks):
        raise ConfigError(
            f"--masks: expected one brain mask for each of the {len(pairs)} subjects of --pairs, found "
            f"{len(masks)}; give them in the same order"
        )
    groups = []
    for word, mask in zip(pairs, masks):
        if not all(word.split(",")):
            raise ConfigError(f"--pairs: expected RUN,RUN for each subject, found {word!r}; correct it")
        runs = tuple(map(Path, word.split(",")))
        name = runs[0].name.removesuffix(".gz").removesuffix(".nii")
        groups.append(AlignedGroup(parse_name(runs[0])[0].get("sub", name), name, runs, mask))
    if len({group.name for group in groups}) < len(groups):
        raise ConfigError(
            "--pairs: expected another name of the first run for each subject, found one name twice; rename "
            "one"
        )
    return groups


def split_subjects(groups: Sequence[AlignedGroup], config: TrainConfig, seed: int) -> Split:
    """Keep subjects apart for validation and test, drawn by a seed.

    Parameters
    ----------
    groups : sequence of AlignedGroup
    config : TrainConfig
        How many are kept apart.
    seed : int

    Returns
    -------
    split : Split
        All groups of a subject are in one part.

    Raises
    ------
    BIDSDataError
        If no subject is left to learn from.
    """
    subjects = sorted({group.subject for group in groups})
    usual = min(max(len(subjects) // 6, 1), _MOST_KEPT_APART)
    n_validation, n_test = config.validation_subjects or usual, config.test_subjects or usual
    if len(subjects) <= n_validation + n_test:
        found = f"{len(subjects)} ({', '.join(subjects)})" if subjects else "none"
        raise BIDSDataError(
            f"expected at least {n_validation + n_test + 1} subjects with images to train a network: "
            f"{n_validation} to choose the epoch, {n_test} to test it, the others to learn from; found "
            f"{found}; add subjects, or denoise each with the shipped weights"
        )
    shuffled = [subjects[index] for index in np.random.default_rng(seed).permutation(len(subjects))]
    kept = n_validation + n_test
    return Split(
        training=tuple(sorted(shuffled[kept:])),
        validation=tuple(sorted(shuffled[:n_validation])),
        test=tuple(sorted(shuffled[n_validation:kept])),
    )


def describe_split(groups: Sequence[AlignedGroup], split: Split) -> str:
    """Which subjects are for what, as ``--dry-run`` prints it."""
    n_alone = sum(len(group.runs) == 1 for group in groups)
    lines = [f"{len(groups)} groups of repetitions, {n_alone} of them one image alone"]
    for name in ("training", "validation", "test"):
        labels = getattr(split, name)
        lines.append(f"{name:<11}{len(labels):>4}  {', '.join(labels)}")
    return "\n".join(lines)
