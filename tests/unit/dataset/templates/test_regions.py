"""Atlases: how they are spelled, which files belong together, and what to fetch or put where."""

from __future__ import annotations

from pathlib import Path

import pytest

from n2a_bids.dataset.templates.regions import find_atlas, parse_regions, read_region_names
from n2a_bids.errors import BIDSDataError, ConfigError


@pytest.fixture
def home(tmp_path) -> Path:
    """An archive with two resolutions of one segmentation, one without resolution, and one only indexed."""
    folder = tmp_path / "home" / "tpl-Mine"
    folder.mkdir(parents=True)
    segmentations = ("res-02_atlas-A_desc-b", "res-01_atlas-A_desc-b", "res-02_atlas-A", "seg-aseg")
    for rest in ("res-01_T1w", "res-01_desc-brain_mask", *(f"{one}_dseg" for one in segmentations)):
        (folder / f"tpl-Mine_{rest}.nii.gz").write_bytes(b"image")
    (folder / "tpl-Mine_res-01_atlas-C_dseg.nii.gz").touch()
    (folder / "tpl-Mine_atlas-A_dseg.tsv").write_text("index\tname\n1\tV1\n")
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("regions", "labels", "names"),
    [
        ("Mine:atlas-A:desc-b", "res-01_atlas-A_desc-b", "atlas-A_dseg.tsv"),
        ("Mine:desc-b:atlas-A:res-02", "res-02_atlas-A_desc-b", "atlas-A_dseg.tsv"),
        ("Mine:atlas-A:desc-b:res-2", "res-02_atlas-A_desc-b", "atlas-A_dseg.tsv"),
        ("tpl-Mine:atlas-A", "res-02_atlas-A", "atlas-A_dseg.tsv"),
        ("Mine:seg-aseg", "seg-aseg", None),
    ],
)
def test_one_segmentation_has_exactly_the_entities_that_were_told(home, regions, labels, names):
    """At 1 mm where there is a choice; its names may stand in the table of all its variants."""
    found = find_atlas(regions, home=home)
    assert found.labels.name == f"tpl-Mine_{labels}_dseg.nii.gz"
    assert (found.names and found.names.name) == (names and f"tpl-Mine_{names}")
    assert (found.template.name, found.brain.name) == (
        "tpl-Mine_res-01_T1w.nii.gz",
        "tpl-Mine_res-01_desc-brain_mask.nii.gz",
    )


def test_a_resolution_is_named_as_the_archive_names_its_files(home):
    """Its names have two digits, however the number is told; what is fetched is then what is looked for."""
    with pytest.raises(ConfigError, match=r"expected tpl-Mine_res-03_atlas-A_desc-b_dseg\.nii\.gz"):
        find_atlas("Mine:atlas-A:desc-b:res-3", home=home)


@pytest.mark.parametrize("regions", ["Mine:atlas-C", "Mine:desc-b", "Other:atlas-A"])
def test_what_is_not_there_is_named_with_the_file_to_fetch(home, regions):
    """An archive that was only indexed has empty files."""
    name, _, told = regions.partition(":")
    wanted = f"tpl-{name}_res-01_{told}_dseg.nii.gz"
    with pytest.raises(
        ConfigError, match=rf"--regions {regions}: expected {wanted} .* fetch it .*_dseg\.tsv"
    ):
        find_atlas(regions, home=home)


@pytest.mark.parametrize(
    "regions", ["Mine", "Mine:res-01", "Mine:atlas", "Mine:atlas-", "Mine:hemi-L", ":desc-a"]
)
def test_other_spellings_are_refused_with_the_right_one(regions):
    """A template has many segmentations."""
    with pytest.raises(ConfigError, match="TEMPLATE:atlas-LABEL:desc-LABEL, such as MNI152"):
        parse_regions(regions)


def test_files_of_the_user_need_names_and_template(tmp_path, home):
    """Each that is missing is named; a mask beside the template is taken, and none is found later."""
    labels, image = tmp_path / "my_dseg.nii.gz", tmp_path / "my_T1w.nii.gz"
    with pytest.raises(ConfigError, match=r"expected a segmentation at .*my_dseg\.nii\.gz"):
        find_atlas(str(labels))
    labels.write_bytes(b"image")
    with pytest.raises(ConfigError, match=r"look-up table .* at .*my_dseg\.tsv"):
        find_atlas(str(labels))
    (tmp_path / "my_dseg.tsv").write_text("index\tname\n1\tV1\n")
    with pytest.raises(ConfigError, match="expected --regions-template"):
        find_atlas(str(labels))
    with pytest.raises(ConfigError, match=r"--regions-template .*my_T1w\.nii\.gz: expected a T1w image"):
        find_atlas(str(labels), str(image))
    image.write_bytes(b"image")
    assert find_atlas(str(labels), str(image)).brain is None
    (tmp_path / "my_desc-brain_mask.nii.gz").write_bytes(b"image")
    assert find_atlas(str(labels), str(image)).brain == tmp_path / "my_desc-brain_mask.nii.gz"
    assert find_atlas(str(labels), "Mine", home).template.parent == home / "tpl-Mine"
    with pytest.raises(ConfigError, match="--regions-template NoSuch: expected a T1w image and"):
        find_atlas(str(labels), "NoSuch", home)
    with pytest.raises(ConfigError, match="--regions-template Mine has no effect"):
        find_atlas("Mine:atlas-A", "Mine", home)


def test_tables_without_index_or_name_are_refused(tmp_path):
    """The error names the columns that were found."""
    table = tmp_path / "a_dseg.tsv"
    table.write_text("index\tname\tcolor\n1\tV1  left\t#fff\n12.0\tV2\t#000\n")
    assert read_region_names(table) == {1: "V1 left", 12: "V2"}
    table.write_text("id\tlabel\n1\tV1\n")
    with pytest.raises(BIDSDataError, match=r"a_dseg\.tsv: expected .* index .* name.* found id, label"):
        read_region_names(table)


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (b'1\t"a\n2\tb\n', {1: '"a', 2: "b"}),
        (b"1\ta\n\t\n2\tb\n", {1: "a", 2: "b"}),
        (b"1.5\ta\n", None),
        (b"inf\ta\n", None),
        (b"1\tGyr\xe9\n", None),
        (b"1\n", None),
    ],
)
def test_no_region_vanishes_from_an_odd_table(tmp_path, rows, names):
    """Quotation marks are letters, empty rows are nothing, all else is named with the file."""
    table = tmp_path / "a_dseg.tsv"
    table.write_bytes(b"index\tname\n" + rows)
    if names is not None:
        assert read_region_names(table) == names
    else:
        with pytest.raises(BIDSDataError, match=r"a_dseg\.tsv: expected a look-up table"):
            read_region_names(table)
