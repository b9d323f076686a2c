"""The protocol's frames: replies survive any cutting of the pipe and any noise between them."""

import ast
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import accord.scorers.external
from accord.scorers.external.protocol import MAX_REPLY, RECORD, ReplyReader, encode_png, score_request

SCRIPTS = Path(accord.scorers.external.__file__).parent / "scripts"
noises = st.binary(max_size=30).filter(lambda noise: RECORD not in noise)
replies = st.dictionaries(st.text(max_size=5), st.text(max_size=8) | st.floats(allow_nan=False), max_size=3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(noises, replies), max_size=6), noises, st.data())
def test_replies_do_not_depend_on_where_the_pipe_cuts_or_what_is_printed(told, tail, data):
    stream = b"".join(noise + RECORD + json.dumps(reply).encode() + b"\n" for noise, reply in told) + tail
    log: list[bytes] = []
    reader = ReplyReader(log.append)
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found == [reply for _, reply in told]
    assert b"".join(log) == b"".join(noise for noise, _ in told) + tail


@pytest.mark.parametrize("broken", [b'{"a": 1', b"[1]", b"7", b"", b"\xff\xfe", b"nonsense"])
def test_what_is_no_object_is_noise(broken):
    log: list[bytes] = []
    assert ReplyReader(log.append).feed(RECORD + broken + b"\n" + RECORD + b'{"b": 2}\n') == [{"b": 2}]
    assert b"".join(log) == RECORD + broken + b"\n"


def test_a_reply_without_an_end_is_refused_and_noise_without_an_end_is_not_kept():
    reader = ReplyReader(lambda noise: None)
    for _ in range(100):
        reader.feed(b"x" * MAX_REPLY)
    assert reader.pending == b""
    reader.feed(RECORD)
    with pytest.raises(ValueError, match="longer than"):
        reader.feed(b"x" * MAX_REPLY)


def test_a_request_is_one_line_and_the_images_behind_it():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    png = encode_png(pixels)
    line, _, rest = score_request(3, [png, b"xy"], ['new\nline "quoted" \ud800', ""]).partition(b"\n")
    told = json.loads(line)
    assert (told["type"], told["id"]) == ("score", 3)
    assert [row["bytes"] for row in told["rows"]] == [len(png), 2]
    assert [row["prompt"] for row in told["rows"]] == ['new\nline "quoted" \ud800', ""]
    assert rest == png + b"xy"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels)


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.name)
def test_scripts_are_written_for_python_3_8_and_know_nothing_of_accord(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "accord" not in imported
