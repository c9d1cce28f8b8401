"""Reading JSON of others ends in an object or in one error that names the file."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

import n2a_bids
from n2a_bids.errors import BIDSDataError
from n2a_bids.io.json import json_text, read_json, read_json_object, sidecar_text

BROKEN = {
    "nested": (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deep"),
    "nested a little too deep": (b'{"a": ' + b"[" * 400 + b"]" * 400 + b"}", "nested too deep"),
    "nested and cut off": (b"[" * 200_000, "nested too deep"),
    "digits": (b'{"EchoTime": ' + b"1" * 5000 + b"}", "a number with 5000 digits"),
    "half": (b'{"EchoTime":', "JSONDecodeError"),
    "empty": (b"", "JSONDecodeError"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8 (byte 1: invalid start byte), but perhaps UTF-16"),
    "latin-1": (b'{"a": "\xe9"}', "'iconv -f WINDOWS-1252 -t UTF-8' turns into it"),
    "zeros": (b"\0" * 100, "JSONDecodeError"),
    "list": (b"[1, 2]", "found a list"),
    "null": (b"null", "found null"),
    "number": (b"1e400", "found a number"),
    "text": (b'"text"', "found a text"),
}


def read(path):
    return read_json_object(path, expected="a sidecar", remedy="correct the file")


@pytest.mark.parametrize("name", BROKEN)
def test_whatever_is_in_a_file_is_one_error(tmp_path, name):
    """In one line: file, what was expected, what was found, what to do."""
    content, found = BROKEN[name]
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(BIDSDataError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: expected ") and message.endswith("; correct the file")
    assert found in message
    assert "\n" not in message and len(message) < 400 + len(str(path))


def test_a_link_without_content_is_fetched_not_made_again(tmp_path):
    """Results, too, are kept by DataLad: to run the participant again would be hours for a download."""
    link = tmp_path / "sub-01_desc-denoised_figures.json"
    link.symlink_to(".git/annex/objects/k")
    with pytest.raises(BIDSDataError, match=f"found a link to nothing; fetch it .'datalad get {link}'"):
        read_json(link)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    """A pipe, a device without end, a folder, a link to nothing, a link to itself."""
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "device.json").symlink_to("/dev/zero")
    (tmp_path / "gone.json").symlink_to("elsewhere")
    (tmp_path / "loop.json").symlink_to("loop.json")
    for path in tmp_path.iterdir():
        with pytest.raises(BIDSDataError, match=rf"{path.name}: expected a sidecar, found \w+"):
            read(path)


def test_odd_numbers_and_a_byte_order_mark_are_read(tmp_path):
    """Values are judged where they are used; an integer beyond all floats is infinite, as 1e400 is."""
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1e400, "b": NaN, "c": 1' + b"0" * 400 + b', "d": 12, "e": -1e400}')
    content = read(path)
    assert content["a"] == content["c"] == math.inf == -content["e"]
    assert math.isnan(content["b"]) and content["d"] == 12


def test_what_is_no_json_is_not_written():
    """NaN and infinity are null in records, at any depth, and absent from sidecars."""
    record = {"a": math.nan, "b": [1.0, -math.inf, {"c": np.float32("inf")}], "d": np.arange(2), "e": None}
    assert json.loads(json_text(record)) == {"a": None, "b": [1, None, {"c": None}], "d": [0, 1], "e": None}
    sidecar = json.loads(sidecar_text({"EchoTime": math.inf, "SliceTiming": [0.0, math.nan], "FlipAngle": 9}))
    assert sidecar == {"SliceTiming": [0.0, None], "FlipAngle": 9}


def test_outputs_are_written_in_one_place():
    """No other module that writes into the output folder makes JSON by itself, but for transforms."""
    package = Path(n2a_bids.__file__).parent
    by_itself = {
        path.name
        for part in ("dataset", "interfaces", "workflows", "reports")
        for path in (package / part).rglob("*.py")
        if "json.dump" in path.read_text(encoding="utf-8")
    }
    # A task for a child process, a value quoted in a message, and a script that refuses NaN.
    assert by_itself <= {"child.py", "acquisition.py", "templates.py"}
