"""Training groups: which aligned files, of which subject, and the split into train and validation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from n2a_bids.config import TrainConfig
from n2a_bids.dataset.names import name_field, parse_name
from n2a_bids.dataset.read.duplicate_files import equal_files
from n2a_bids.errors import BIDSDataError, ConfigError
from n2a_bids.io.files import without_extension, write_whole
from n2a_bids.io.micrographs import is_micrograph

_MOST_KEPT_APART = 4


@dataclass(frozen=True, slots=True)
class AlignedGroup:
    """Aligned repetitions of one subject, or one image alone, as files on one grid."""

    subject: str
    name: str
    """What the model card calls it."""
    runs: tuple[Path, ...]
    mask: Path | None
    """None for micrographs as they were acquired, which are not aligned yet."""
    measured: Path | None = None
    """How many runs were measured at each voxel, where some have gaps."""
    real_valued: bool = False
    """Real parts of complex images."""
    micrograph: bool = False
    """Exposures of a microscope."""
    field_of_view: str = ""
    """What micrographs show, by subject, sample and chunk: the same in all stains and acquisitions."""

    @property
    def network(self) -> str:
        """Name of the network that learns from it."""
        return "resunet-2d" if self.micrograph else "resunet-t1w"

    @property
    def files(self) -> tuple[Path, ...]:
        """All that it is read from."""
        return tuple(filter(None, (*self.runs, self.mask, self.measured)))


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
    """Read the groups of a training from the file that `write_groups` wrote.

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
                mask=Path(row["mask"]) if row["mask"] else None,
                measured=Path(row["measured"]) if row.get("measured") else None,
                real_valued=bool(row.get("real_valued")),
                micrograph=bool(row.get("micrograph")),
                field_of_view=str(row.get("field_of_view", "")),
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
    others are subjects by themselves. PNG and TIFF files are micrographs, which have no mask.

    Raises
    ------
    ConfigError
        If there is not one mask for each head, a name is empty or stands twice, or a group has too few or
        mixed files.

    Examples
    --------
    >>> one, two = groups_of_pairs(["a1.nii,a2.nii", "b.nii"], [Path("a_mask.nii"), Path("b_mask.nii")])
    >>> one.subject, len(one.runs), len(two.runs)
    ('a1', 2, 1)
    >>> groups_of_pairs(["sub-01_ses-2_run-1_T1w.nii,r2.nii"], [Path("mask.nii")])[0].subject
    '01'
    """
    n_masks = len(pairs)
    if not masks and all(is_micrograph(Path(one)) for word in pairs for one in word.split(",")):
        n_masks = 0
    if len(masks) != n_masks:
        raise ConfigError(
            f"--masks: expected one brain mask for each of the {len(pairs)} subjects of --pairs, found "
            f"{len(masks)}; give them in the same order, and none for micrographs (PNG, TIFF)"
        )
    groups = [_group_of_word(word, mask) for word, mask in zip(pairs, masks or [None] * len(pairs))]
    if len({group.name for group in groups}) < len(groups):
        raise ConfigError(
            "--pairs: expected another name of the first run for each subject, found one name twice; rename "
            "one"
        )
    if reasons := copies(groups):
        name, reason = next(iter(reasons.items()))
        raise ConfigError(
            f"--pairs: expected files of their own for each subject, found that {reason} ({name})"
        )
    return groups


def _group_of_word(word: str, mask: Path | None) -> AlignedGroup:
    if not all(word.split(",")):
        raise ConfigError(f"--pairs: expected RUN,RUN for each subject, found {word!r}; correct it")
    runs = tuple(map(Path, word.split(",")))
    microscopic = [is_micrograph(run) for run in runs]
    if any(microscopic) and (not all(microscopic) or mask is not None or len(runs) < 2):
        raise ConfigError(
            f"--pairs: expected two or more PNG or TIFF files and no mask for a field of view, or images of "
            f"a head with a mask, found {word!r}; correct it"
        )
    entities, _, extension = parse_name(runs[0])
    name = runs[0].name.removesuffix(extension) if any(microscopic) else without_extension(runs[0])
    subject = entities.get("sub", name)
    field = name_field(entities | {"sub": subject}) if any(microscopic) else ""
    return AlignedGroup(subject, name, runs, mask, micrograph=any(microscopic), field_of_view=field)


def copies(groups: Sequence[AlignedGroup]) -> dict[str, str]:
    """Groups that hold a file of another subject, by name, and why they are left out; the first one stays.

    The network would be judged on what it has learned from, and nobody would see it.
    """
    owners = {run: group for group in groups for run in group.runs}
    reasons: dict[str, str] = {}
    for first, *others in equal_files(list(owners)):
        for other in others:
            mine, theirs = owners[other], owners[first]
            if mine.subject != theirs.subject and theirs.name not in reasons:
                reasons[mine.name] = (
                    f"{other} is, byte for byte, {first}, of another subject ({theirs.subject}), by which "
                    "the network could be judged on what it has learned from; put the right file in place"
                )
    return reasons


def network_of(groups: Sequence[AlignedGroup]) -> str:
    """Name of the network that learns from all groups.

    Raises
    ------
    ConfigError
        If there are both heads and micrographs.
    """
    names = sorted({group.network for group in groups})
    if len(names) > 1:
        raise ConfigError(
            f"expected heads or micrographs, since one network is trained ({' or '.join(names)}); found "
            "both; choose by --modalities, or by the files of --pairs"
        )
    return names[0] if names else ""


def tell_apart(groups: Sequence[AlignedGroup], config: TrainConfig) -> list[AlignedGroup]:
    """Groups under the labels by which they are kept apart: subjects, or fields of view of too few of them.

    Many studies with a microscope have one specimen and many fields of view. Of these, too, none is learned
    from that the network is judged on; that it fits another specimen is not shown.

    Returns
    -------
    groups : list of AlignedGroup
        With fields of view in place of subjects where the groups are micrographs of too few subjects.
    """
    subjects = {group.subject for group in groups}
    n_validation, n_test = _n_kept_apart(len(subjects), config)
    if len(subjects) > n_validation + n_test or not all(group.micrograph for group in groups):
        return list(groups)
    return [replace(group, subject=group.field_of_view or group.subject) for group in groups]


def _n_kept_apart(n_subjects: int, config: TrainConfig) -> tuple[int, int]:
    """How many are for validation and for the test."""
    usual = min(max(n_subjects // 6, 1), _MOST_KEPT_APART)
    return config.validation_subjects or usual, config.test_subjects or usual


def split_subjects(groups: Sequence[AlignedGroup], config: TrainConfig, seed: int) -> Split:
    """Keep subjects apart for validation and test, drawn by a seed.

    Parameters
    ----------
    config : TrainConfig
        How many are kept apart.

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
    n_validation, n_test = _n_kept_apart(len(subjects), config)
    if len(subjects) <= n_validation + n_test:
        found = f"{len(subjects)} ({', '.join(subjects)})" if subjects else "none"
        raise BIDSDataError(
            f"expected at least {n_validation + n_test + 1} subjects{_or_fields(groups)} to train a network: "
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


def _or_fields(groups: Sequence[AlignedGroup]) -> str:
    return ", or fields of view," if any(group.micrograph for group in groups) else " with images"


def are_fields(groups: Sequence[AlignedGroup]) -> bool:
    """Whether fields of view are kept apart, rather than subjects."""
    return any(group.micrograph and group.subject == group.field_of_view for group in groups)


def describe_split(groups: Sequence[AlignedGroup], split: Split) -> str:
    """Which subjects are for what, as ``--dry-run`` prints it."""
    n_alone = sum(len(group.runs) == 1 for group in groups)
    lines = [f"{len(groups)} groups of repetitions, {n_alone} of them one image alone"]
    if are_fields(groups):
        lines.append("too few subjects: their fields of view (sample, chunk) are kept apart instead")
    for name in ("training", "validation", "test"):
        labels = getattr(split, name)
        lines.append(f"{name:<11}{len(labels):>4}  {', '.join(labels)}")
    return "\n".join(lines)
