"""README and first pages are in plain words; every number of the README's results stands in rows."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# What a newcomer reads, beside the README.
FIRST_PAGES = ("first_hour", "how_it_works", "reports", "handover", "faq", "limits", "whats_new")
# What is looked up; its sentences may be a little longer.
REFERENCE = sorted(
    str(page.relative_to(ROOT / "docs").with_suffix(""))
    for page in (ROOT / "docs").rglob("*.md")
    if page.stem not in FIRST_PAGES
)
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in FIRST_PAGES)]
WHITE = ROOT / "docs" / "benchmarks" / "2026-11-30" / "white.tsv"
PAIRS = ROOT / "docs" / "benchmarks" / "2026-11-21" / "diffusion-pairs.tsv"
WORTH = [
    ROOT / "docs" / "benchmarks" / "2026-11-27" / f"downstream-{name}.tsv"
    for name in ("summary", "42-brains", "boxes-brains")
]
UNSEEN = ROOT / "docs" / "benchmarks" / "2026-12-01" / "unseen-t1w.tsv"
LONGEST_SENTENCE_WORDS, LONGEST_OF_REFERENCE_WORDS = 25, 30
# One screen and a half.
MOST_LINES = 90
# Words of machine learning and statistics that a neuroimager need not know.
UNEXPLAINED = (
    *(
        "stacking",
        "recorruption",
        "recorrupted",
        "zero-shot",
        "self-supervised",
        "checkpoint",
        "fine-tun",
        "held-out",
    ),
    *(
        "backbone",
        "embedding",
        "hyperparameter",
        "ablation",
        "epoch",
        "latent",
        "inference",
        "ensemble",
        "regulari",
    ),
)


def prose(page: str) -> str:
    """Text of a page without code, pictures, tables, headings and addresses."""
    page = re.sub(r"```.*?```|<!--.*?-->", "", page, flags=re.DOTALL)
    page = re.sub(r"!\[[^\]]*\]\([^)]*\)|^[#|].*$", "", page, flags=re.MULTILINE)
    page = re.sub(r"^(-|\d\.) ", "\n\n", page, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", page)


def sentences(page: str) -> list[str]:
    return [
        part.strip() for part in re.split(r"(?<=[.:?!*])\s+(?=[A-Z`*])|\n\s*\n", prose(page)) if part.strip()
    ]


@pytest.mark.parametrize("name", ["../README", *FIRST_PAGES, *REFERENCE])
def test_sentences_are_short(name):
    """They are read once."""
    found = sentences((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"))
    longest = LONGEST_OF_REFERENCE_WORDS if name in REFERENCE else LONGEST_SENTENCE_WORDS
    assert [text for text in found if len(text.split()) > longest] == []


def test_readme_is_short():
    """A scientist reads it in a minute."""
    assert len(README.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_words_are_those_of_the_field(page):
    """No word of machine learning that a neuroimager would have to look up."""
    text = prose(page.read_text(encoding="utf-8")).lower()
    assert [word for word in UNEXPLAINED if word in text] == []


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def draws(path: Path, *keys: str) -> list[dict[str, dict[str, str]]]:
    """Rows of a table by method, one group for each draw of the noise."""
    grouped: dict[tuple[str, ...], dict[str, dict[str, str]]] = defaultdict(dict)
    for row in read_rows(path):
        grouped[tuple(row[key] for key in keys)][row["method"]] = row
    return list(grouped.values())


def answers() -> list[str]:
    """What the rows say today, worded as in the README."""
    cells = draws(WHITE, "truth", "noise_level", "n_repetitions")
    psnr = [{method: float(row["psnr_db"]) for method, row in cell.items()} for cell in cells]
    over_mean = [cell["auto"] - cell["mean"] for cell in psnr]
    # BM4D leaves the Rician bias in, which is no fault of its filter.
    over_bm4d = [cell["auto"] - cell["bm4d-floor"] for cell in psnr]
    pairs = draws(PAIRS, "phantom", "condition", "snr", "seed")
    ratios = [float(pair["auto"]["fa_error"]) / float(pair["noisy"]["fa_error"]) for pair in pairs]
    average = sum(over_bm4d) / len(over_bm4d)
    rows = [row for path in WORTH for row in read_rows(path) if row["measure"] == "gm_overlap"]
    worth = {
        base: [float(row["worth_averages"]) for row in rows if row["method"].startswith(base)]
        for base in ("auto", "ants")
    }
    low, high = ({base: f"{bound(found):.0f}" for base, found in worth.items()} for bound in (min, max))
    unseen = {
        (row["judged"][:5], row["method"]): round(float(row["gain_db"]), 3) + 0.0 for row in read_rows(UNSEEN)
    }
    first, other = ({name: unseen[run, name] for name in ("auto", "bm4d")} for run in ("run 1", "run 2"))
    n_brains = len({row["truth"] for path in WORTH[1:] for row in read_rows(path)})
    return [
        f"by {min(over_mean):.1f} dB or more, in all {len(over_mean)} draws",
        f"by {min(over_bm4d):.1f} to {max(over_bm4d):.1f} dB, {average:.1f} dB on average, "
        f"in {len(over_bm4d)} draws",
        f"{min(ratios):.2f} to {max(ratios):.2f} of the mean's, in all {len(ratios)} draws",
        f"{low['auto']} to {high['auto']} in {n_brains} brains; "
        f"with ANTs of each run instead {low['ants']} to {high['ants']}",
        *(
            f"{run['auto']:.1f} dB below that of the run, with BM4D {run['bm4d']:.1f}"
            for run in (first, other)
        ),
    ]


def results() -> list[str]:
    section = README.partition("## What it is worth")[2].partition("\n## ")[0]
    return [line.split("|")[2].strip() for line in section.splitlines() if line.startswith("| ")][1:]


def test_every_result_is_what_the_rows_say():
    """No number is typed by hand: each answer is made anew from the committed rows."""
    assert results() == answers()


@pytest.mark.parametrize("unit", ["dB", "%", " min", " GB"])
def test_numbers_stand_in_the_table_alone(unit):
    """Figures outside of the table, which nothing would hold, are not in the text."""
    assert not re.search(rf"\d\s*{unit}\b", prose(README))
