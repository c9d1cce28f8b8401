"""What is made of crash files that a full disk has cut off."""

import pytest

from n2a_bids.reports.records.crashes import find_crashes, find_lasting_crashes

_WHOLE = (
    "Node: n2a.sub_01.sub_01_T1w_anat_repeats.outputs_wf.write\nWorking directory: /work\n\nNode inputs:\n\n"
    "record = {'strategy': 'mean', 'sources': ['a', 'b']}\n\nTraceback (most recent call last):\n"
    "  File x, line 1, in y\nOSError: [Errno 28] No space left on the disk"
)


@pytest.mark.parametrize("end", ["", "Node inputs", "Traceback", "  File"])
def test_inputs_of_a_step_are_not_taken_for_its_error(end, tmp_path):
    """They come first in the file, and can fill a page."""
    (tmp_path / "crash-x.txt").write_text(_WHOLE[: _WHOLE.index(end)] if end else "")
    (crash,) = find_crashes(tmp_path)
    assert crash.message == "its crash file is empty or ends before the error; is the disk full?"


def test_whole_file_tells_the_error(tmp_path):
    """Its last line."""
    (tmp_path / "crash-x.txt").write_text(_WHOLE)
    (crash,) = find_crashes(tmp_path)
    assert crash.sentence == (
        "sub-01_T1w, writing the results: OSError: [Errno 28] No space left on the disk"
    )


def test_step_of_one_image_of_several_is_named_by_its_workflow(tmp_path):
    """Nipype calls it `_brain0`. In later runs it stands as long as nobody has made up for it."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    (folder / "crash-x.txt").write_text(
        "Node: _brain0\nWorking directory: /n2a_work/sub_a/n2a_0_1_0/sub_01/sub_01_T1w_anat_repeats"
        "/mask_wf/brain/mapflow/_brain0\n\nTraceback (most recent call last):\n  File x, line 1\n"
        "OSError: no brain"
    )
    (crash,) = find_crashes(folder)
    assert crash.sentence == "sub-01_T1w, finding the brain: OSError: no brain"
    attempts = {"sub-01_T1w": "earlier", "sub-01_dwi": "later"}
    assert find_lasting_crashes(tmp_path, "later", attempts) == [crash]
    assert find_lasting_crashes(tmp_path, "later", {"sub-01_T1w": "later"}) == []
