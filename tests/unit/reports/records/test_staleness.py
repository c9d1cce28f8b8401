"""Results of earlier runs in the output: named as such, and left where they are."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest
from written_tables import read_rows

from n2a_bids.app.batch import note_attempt
from n2a_bids.app.work import ParticipantWork
from n2a_bids.config import Config, OutputConfig
from n2a_bids.dataset.units import Excluded
from n2a_bids.record.alignment import AlignedRepetition, AlignmentRecord
from n2a_bids.reports.methods.citation import write_citation
from n2a_bids.reports.pages.group import write_group
from n2a_bids.reports.pages.group_records import read_group
from n2a_bids.reports.pages.participant import write_participant_reports
from n2a_bids.reports.records.staleness import LeftOut, is_left_over, read_runs, write_attempt
from n2a_bids.reports.records.units import find_records, find_units


class Study:
    """A dataset and the output of n2a, of one participant."""

    def __init__(self, folder: Path) -> None:
        self.bids, self.out = folder / "bids", folder / "out"

    def image(self, name: str) -> Path:
        path = self.bids / "sub-01" / "anat" / f"sub-01_{name}_T1w.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def attempt(self, run: str, *units: str, images: dict[str, list[Path]] | None = None) -> None:
        """A run begins."""
        sources = {record.label: record.denoising.sources for record in find_records(self.out, "01")}
        named = {
            label: [path.relative_to(self.bids).as_posix() for path in paths]
            for label, paths in (images or {}).items()
        }
        looked_at = [*chain(*named.values())]
        folder = self.out / "sub-01/log" / run
        write_attempt(folder, self.bids, [*units, *named], sources, (), looked_at, named)

    def finish(self, run: str, stem: str, *images: Path) -> None:
        """A run writes the record of a unit."""
        folder = self.out / "sub-01" / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        sources = [f"bids:raw:{path.relative_to(self.bids)}" for path in images]
        denoising = {"run_uuid": run, "sources": sources, "strategy": "mean", "n_repetitions": 2}
        alignment = {"repetitions": [{"file": path.name, "accepted": True} for path in images]}
        for desc, record in (("denoised", denoising), ("alignment", alignment)):
            (folder / f"{stem}_desc-{desc}_figures.json").write_text(json.dumps(record))

    def outdated(self) -> dict[str, str]:
        return {record.label: record.outdated for record in find_records(self.out, "01")}


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def test_a_result_that_a_later_run_did_not_replace_is_outdated(study):
    """Until a run replaces it; runs of other images do not touch it."""
    images = [study.image(f"run-{run}") for run in (1, 2)]
    study.attempt("2026-a", "sub-01_T1w")
    study.finish("2026-a", "sub-01", *images)
    assert study.outdated() == {"sub-01_T1w": ""}
    study.attempt("2026-b", "sub-01_dwi")
    assert study.outdated() == {"sub-01_T1w": ""}
    study.attempt("2026-c", "sub-01_T1w")
    assert "2026-a: the run 2026-c has not replaced it" in study.outdated()["sub-01_T1w"]
    study.finish("2026-c", "sub-01", *images)
    assert study.outdated() == {"sub-01_T1w": ""}


def test_a_result_whose_images_went_into_other_groups_is_outdated(study):
    """One image denoised alone before the second came: the participant would be in the table twice."""
    first, second, third = (study.image(f"run-{run}") for run in (1, 2, 3))
    study.attempt("2026-a", images={"sub-01_run-1_T1w": [first]})
    study.finish("2026-a", "sub-01_run-1", first)
    study.attempt("2026-b", images={"sub-01_T1w": [first, second]})
    study.finish("2026-b", "sub-01", first, second)
    outdated = study.outdated()
    assert "all of its images have gone into sub-01_T1w since (run 2026-b)" in outdated["sub-01_run-1_T1w"]
    assert outdated["sub-01_T1w"] == ""
    study.attempt("2026-c", images={"sub-01_run-1_T1w": [first], "sub-01_run-3_T1w": [third]})
    study.finish("2026-c", "sub-01_run-1", first)
    assert set(study.outdated().values()) == {""}, "one of two is alone, too: the other is in the mean only"
    study.attempt("2026-d", images={"sub-01_run-1_T1w": [first], "sub-01_run-2_T1w": [second]})
    study.finish("2026-d", "sub-01_run-1", first)
    assert "gone into sub-01_run-1_T1w, sub-01_run-2_T1w since" in study.outdated()["sub-01_T1w"]


def test_a_result_whose_images_were_renamed_is_outdated(study):
    """The new one counts alone in the methods text; both are in the table, the old one marked."""
    old = [study.image(f"run-{run}") for run in (1, 2)]
    study.attempt("2026-a", "sub-01_T1w")
    study.finish("2026-a", "sub-01", *old)
    new = [path.rename(study.image(f"acq-x_run-{run}")) for run, path in enumerate(old, start=1)]
    study.attempt("2026-b", "sub-01_acq-x_T1w")
    study.finish("2026-b", "sub-01_acq-x", *new)
    assert "source images" in study.outdated()["sub-01_T1w"]
    assert study.outdated()["sub-01_acq-x_T1w"] == ""
    table = write_group(study.out, read_group(study.out, ["01"]))[0]
    rows = {row["unit"]: row["outdated"] for row in read_rows(table)}
    assert rows == {"sub-01_T1w": "true", "sub-01_acq-x_T1w": "false"}
    assert "(outdated)" in (study.out / "group.html").read_text()
    assert "2 groups" not in write_citation(study.out, ["01"])[0].read_text()
    (page,) = write_participant_reports(study.out, "01", "2026-b", OutputConfig())
    assert "not all in the dataset any more" in page.read_text()
    old[0].touch(), old[1].symlink_to(".git/annex/nowhere")
    study.attempt("2026-c", "sub-01_acq-x_T1w")
    assert study.outdated()["sub-01_T1w"] == "", "back, although one is not fetched"


def test_a_run_that_finds_nothing_to_do_notes_what_is_gone(study):
    """A participant of whom one run is left has no group; a run of other images leaves no trace."""
    images = [study.image(f"run-{run}") for run in (1, 2)]
    study.attempt("2026-a", "sub-01_T1w")
    study.finish("2026-a", "sub-01", *images)
    study.attempt("2026-b")
    assert not (study.out / "sub-01/log/2026-b").exists()
    images[1].unlink()
    config = Config(study.bids, study.out, study.out / "work", "2026-c")
    assert note_attempt(ParticipantWork("01", (), ()), config)
    assert "source images" in study.outdated()["sub-01_T1w"]


def test_files_of_a_repetition_that_is_gone_are_named_and_not_shown(study):
    """They stay on disk; files of the repetitions in use, and of the group, are shown."""
    images = [study.image(f"run-{run}") for run in (1, 2)]
    study.finish("2026-a", "sub-01", *images)
    figures = study.out / "sub-01" / "figures"
    figures.mkdir()
    transforms = [f"sub-01_run-{run}_from-orig_to-T1w_mode-image_xfm.txt" for run in (2, 3)]
    for name in transforms:
        (study.out / "sub-01/anat" / name).touch()
    for name in ("desc-denoised", "run-2_desc-alignment", "run-3_desc-alignment"):
        (figures / f"sub-01_{name}_T1w.svg").write_text("<svg></svg>")
    (unit,) = find_units(study.out, "01")
    assert [path.name for path in unit.left_over] == ["sub-01_run-3_desc-alignment_T1w.svg", transforms[1]]
    assert len(unit.figures) == 2 and transforms[0] in [path.name for path in unit.files]
    assert transforms[1] in unit.warnings[-1]
    assert all(path.is_file() for path in unit.left_over)


def test_nothing_is_left_over_where_the_alignment_is_unknown():
    """Only repetitions of the record count, and of these only those that were used."""
    path = Path("sub-01_run-3_xfm.txt")
    other = AlignedRepetition(file="sub-01_acq-a_run-3_T1w.nii.gz")
    excluded = AlignedRepetition(file="sub-01_run-3_T1w.nii.gz", accepted=False)
    used = AlignedRepetition(file="sub-01_run-1_T1w.nii.gz")
    assert not is_left_over(path, AlignmentRecord())
    assert not is_left_over(path, AlignmentRecord(repetitions=(other,)))
    assert is_left_over(path, AlignmentRecord(repetitions=(excluded, used)))


def test_a_broken_list_of_one_run_spoils_no_report(study):
    """No later run would repair it."""
    study.finish("2026-a", "sub-01", study.image("run-1"), study.image("run-2"))
    study.attempt("2026-b", "sub-01_T1w")
    (study.out / "sub-01/log/2026-b/units.json").write_text("{")
    assert read_runs(study.out / "sub-01").order == ()
    assert study.outdated() == {"sub-01_T1w": ""}


def test_a_result_whose_image_is_broken_now_is_one_of_the_past(study):
    """The last run was to denoise it again, and left its image out as damaged."""
    images = [study.image(f"run-{run}") for run in (1, 2)]
    study.attempt("2026-a", "sub-01_T1w")
    study.finish("2026-a", "sub-01", *images)
    config = Config(study.bids, study.out, study.out / "work", "2026-b")
    assert not note_attempt(ParticipantWork("01", (), (Excluded(images[0], "a filter"),)), config)
    assert note_attempt(ParticipantWork("01", (), (Excluded(images[1], "truncated", is_error=True),)), config)
    assert "2026-b has not replaced it" in study.outdated()["sub-01_T1w"]


def test_images_of_other_sessions_stay_left_out(study):
    """A run has the last word on what it looked at: each session may have a run of its own."""
    root, first, second = study.out / "sub-01", study.image("a"), study.image("b")
    names = [str(path.relative_to(study.bids)) for path in (first, second)]

    def run(uuid: str, left_out: list[str], looked_at: list[str]) -> list[str]:
        gone = [LeftOut(name, "one image, nothing to average") for name in left_out]
        write_attempt(root / "log" / uuid, study.bids, ["sub-01_T1w"], {}, gone, looked_at)
        return [item.image for item in read_runs(root).left_out]

    assert run("2026-a", names[:1], names[:1]) == names[:1]
    assert run("2026-b", names[1:], names[1:]) == names
    assert run("2026-c", [], names[:1]) == names[1:], "it was denoised, or a filter excludes it now"
    second.unlink()
    assert run("2026-d", [], names[:1]) == [], "the image is not there any more"
    assert run("2026-e", ["sub-01/dwi"], ["sub-01/dwi"]) == ["sub-01/dwi"]
    assert run("2026-f", [], ["sub-01/dwi/sub-01_dwi.nii.gz"]) == [], "the folder could be opened"


def test_a_list_of_an_earlier_version_stands_for_all_images(study):
    """It does not tell what was looked at."""
    root = study.out / "sub-01"
    study.attempt("2026-a", "sub-01_T1w")
    for run, images in (("2026-b", ["x"]), ("2026-c", ["y"])):
        left_out = [{"image": image, "reason": "broken"} for image in images]
        (root / "log" / run).mkdir()
        (root / "log" / run / "units.json").write_text(json.dumps({"units": [], "left_out": left_out}))
    assert [item.image for item in read_runs(root).left_out] == ["y"]


IMAGES = {f"sub-01_ses-{one}_T1w": [f"sub-01/ses-{one}/anat/{run}.nii" for run in "12"] for one in "ab"}


class TestFailedSession:
    """A good run of one session does not hide that another one failed."""

    @pytest.fixture
    def failed(self, study):
        """Session a crashed, session b is done; the images of both are there."""
        for path in chain(*IMAGES.values()):
            (study.bids / path).parent.mkdir(parents=True, exist_ok=True)
            (study.bids / path).touch()
        self.begin(study, "2026-a", "sub-01_ses-a_T1w")
        (study.out / "sub-01/log/2026-a/crash-x.txt").write_text(
            "Node: n2a.sub_01.sub_01_ses_a_T1w_anat_repeats.denoise\n\nTraceback (most recent call last):\n"
            "  File y\nValueError: no brain"
        )
        self.begin(study, "2026-b", "sub-01_ses-b_T1w")
        study.finish("2026-b", "sub-01_ses-b")
        return study

    def begin(self, study, run, *units, looked_at=()):
        images = {label: IMAGES[label] for label in units}
        looked_at = [*looked_at, *chain(*images.values())]
        write_attempt(study.out / "sub-01/log" / run, study.bids, units, {}, (), looked_at, images)

    def told(self, study, run):
        (page,) = write_participant_reports(study.out, "01", run, OutputConfig())
        group = read_group(study.out, ["01"])
        write_group(study.out, group)
        named = ["ses-a_T1w" in sentence for sentence in group.told_missing]
        named += ["<strong>Not denoised:</strong>" in (study.out / "group.html").read_text()]
        text = page.read_text()
        named += ["<strong>Not denoised:</strong> sub-01_ses-a_T1w" in text, "ValueError: no brain" in text]
        named += ["1 step failed" in text]
        return named

    def test_it_is_told_of_until_it_is_done(self, failed):
        """On the page, with the reason, and at the group level."""
        assert self.told(failed, "2026-b") == [True] * 5
        self.begin(failed, "2026-c", "sub-01_ses-a_T1w")
        failed.finish("2026-c", "sub-01_ses-a")
        assert not any(self.told(failed, "2026-c"))

    def test_it_is_forgotten_where_its_images_go_another_way(self, failed):
        """They are left out by a run that looked at them, as after one of them was renamed."""
        looked_at = IMAGES["sub-01_ses-a_T1w"][:1]
        self.begin(failed, "2026-c", "sub-01_ses-b_T1w", looked_at=looked_at)
        assert not any(self.told(failed, "2026-b"))

    def test_it_is_forgotten_where_its_images_are_gone(self, failed):
        """The dataset has no such session any more."""
        for path in IMAGES["sub-01_ses-a_T1w"]:
            (failed.bids / path).unlink()
        self.begin(failed, "2026-c", "sub-01_ses-b_T1w")
        assert not any(self.told(failed, "2026-b"))
