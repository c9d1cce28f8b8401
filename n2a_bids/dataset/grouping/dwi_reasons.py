"""Words the one reason why a diffusion series has no partner."""

from __future__ import annotations

from collections.abc import Sequence

from n2a_bids.dataset.grouping.dwi_repeats import may_repeat
from n2a_bids.dataset.grouping.dwi_reverse_pe import (
    compare_encoding,
    compare_labels,
    missing_direction,
    spelled_apart,
)
from n2a_bids.dataset.grouping.dwi_volumes import common_part, loses_too_many, reason_not_common
from n2a_bids.dataset.grouping.entities import NO_OTHER_SERIES
from n2a_bids.dataset.names import comparable
from n2a_bids.dataset.read.gradient_tables import Series


def reason_against_pair(
    series: Series, family: Sequence[Series], session: Sequence[Series], pairing: str
) -> str:
    """Why none of the other series of a session was taken as the partner of this one.

    Parameters
    ----------
    family : sequence of Series
        Whose names differ in ``dir`` and ``run`` only, this one among them; a direction that ``acq`` names
        is in ``dir``.
    session : sequence of Series
        All of the participant and session.
    pairing : str
        Value of ``--dwi-pairing``.

    Returns
    -------
    reason : str
        Half a sentence, about the series that came nearest to being a partner.
    """
    path = series.image.path
    series, *_ = (one for one in family if one.image.path == path)
    others = [one for one in family if one.image.path != path]
    if not others:
        return _reason_by_name(series, session) or NO_OTHER_SERIES
    found = [_reason(series, other, pairing) for other in others]
    return max(found, key=lambda item: item[0])[1]


def _reason_by_name(series: Series, session: Sequence[Series]) -> str:
    """Half a sentence about a series that only its name keeps from being the partner; empty without one."""
    for other in session:
        relation = compare_encoding(series, other)
        if (
            other.image.path == series.image.path
            or relation not in ("opposite", "same")
            or reason_not_common(series, other)
        ):
            continue
        differing = [
            name
            for name in {**series.image.entities, **other.image.entities}
            if series.image.entities.get(name) != other.image.entities.get(name)
            and name not in ("dir", "run")
        ]
        # Reconstructions of one acquisition share its noise; named as runs they would be averaged.
        condition = (
            "two reconstructions of one acquisition are no two measurements; where these are two acquisitions"
            if relation == "same" and "rec" in differing
            else "where the two belong together"
        )
        return (
            f"{other.image.path.name} has {relation} phase encoding and the same volumes, but the names "
            f"differ in {' and '.join(differing)}: {condition}, name them alike but for "
            f"{'dir' if relation == 'opposite' else 'run'}"
        )
    return ""


def _reason(series: Series, other: Series, pairing: str) -> tuple[int, str]:
    """How near a series came to being the partner, from 0, and what kept it from it."""
    name, relation = other.image.path.name, compare_encoding(series, other)
    if relation == "opposite":
        return _reason_against_opposite(series, other, pairing)
    alike = _differs_in_run_only(series, other)
    if alike and may_repeat(series, other, trust_labels=pairing == "repeat"):
        common = reason_not_common(series, other)
        if not common and pairing == "reverse-pe":
            return 3, f"phase encoding of {name} is the same: use --dwi-pairing repeat"
        return 4, common or _reason_to_stay_out(series, other) or f"{name} is taken by others"
    if relation == "same":
        return 2, (
            f"no other series has opposite phase encoding ({name} has the same, "
            f"{other.phase_encoding}), or the same gradient table under another run"
            + _doubt_by_label(series, other)
        )
    if relation == "across":
        return 1, f"phase encoding of {name} is neither the same nor opposite but along another axis"
    if relation == "same axis":
        return 3, _reason_against_unknown_polarity(series, other, pairing)
    apart = spelled_apart(series, other)
    if apart:
        return 3, apart
    missing = f"its {missing_direction(series)}, so that a partner cannot be recognised"
    if series.acquisition.phase_encoding_axis:
        missing = missing_direction(other, f" of {name}")
    remedy = _remedy_by_option(series, other) if alike else ""
    return 1 if remedy else 0, missing + remedy


def _doubt_by_label(series: Series, other: Series) -> str:
    """That one of two sidecars may be wrong, where two of one phase encoding are named by two; else empty."""
    labels = {one.image.entities.get("dir") for one in (series, other)}
    if len(labels) < 2 or None in labels or reason_not_common(series, other):
        return ""
    named = " and ".join(sorted(f"dir-{label}" for label in labels))
    return f"; the names have {named}: if one sidecar is wrong, correct its PhaseEncodingDirection"


def _remedy_by_option(series: Series, other: Series) -> str:
    """The option that takes two series as repeats whose sidecars do not tell whether they are."""
    if not may_repeat(series, other, trust_labels=True) or reason_not_common(series, other):
        return ""
    return "; if the two have the same, --dwi-pairing repeat takes them together"


def _reason_against_opposite(series: Series, other: Series, pairing: str) -> tuple[int, str]:
    name = other.image.path.name
    if pairing == "repeat":
        return 6, (
            f"phase encoding of {name} is opposite: use --dwi-pairing reverse-pe, or "
            "--dwi-corrected where distortion is corrected already"
        )
    against = reason_not_common(series, other)
    if against:
        return 4, against
    if not common_part((series, other)).has_b0:
        return 5, f"it has no b0 in common with {name}, from which the distortion could be estimated"
    return 3, _reason_to_stay_out(series, other) or f"{name}, which is opposite, is paired already"


def _reason_to_stay_out(series: Series, other: Series) -> str:
    """Why a shorter series would harm the group of another one; empty where it is not shorter."""
    own, its = (int(one.weighted.sum()) for one in (series, other))
    if not loses_too_many(its, own):
        return ""
    name = other.image.path.name
    return f"it has {own} diffusion-weighted volumes, {name} {its}: the others would lose the rest of theirs"


def _reason_against_unknown_polarity(series: Series, other: Series, pairing: str) -> str:
    unknown = " and ".join(one.image.path.name for one in (series, other) if not one.phase_encoding)
    lacks = f"the sidecar of {unknown} gives no polarity of phase encoding (PhaseEncodingDirection)"
    if pairing == "reverse-pe":
        if compare_labels(series, other) == "same":
            return f"{lacks}, and the labels say that it is that of {other.image.path.name}"
        against = reason_not_common(series, other)
        return against or f"{other.image.path.name} is taken, or has no b0 in common with it"
    if compare_labels(series, other) == "opposite" and not reason_not_common(series, other):
        return (
            f"{lacks}; if the two are opposite, as their labels say, --dwi-pairing reverse-pe takes them "
            "as a pair"
        )
    return lacks


def _differs_in_run_only(first: Series, second: Series) -> bool:
    labels = (comparable("dir", one.image.entities.get("dir", "")) for one in (first, second))
    return len(set(labels)) == 1
