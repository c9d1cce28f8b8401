"""What is made of crash files that a full disk has cut off."""

import pytest

from n2a_bids.reports.records.crashes import find_crashes

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
        "sub_01_T1w_anat_repeats.outputs_wf.write: OSError: [Errno 28] No space left on the disk"
    )
