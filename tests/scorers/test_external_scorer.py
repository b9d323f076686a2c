"""Scorers in a process of their own, with real child processes that die, hang, print, lie and come back."""

import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import accord.scorers.external
from accord.errors import ScorerStopped, ScoringError
from accord.outside import ExternalConfig
from accord.scorers.external.scorer import ExternalScorer
from accord.testing.checks import check_scorer

SERVE = Path(accord.scorers.external.__file__).parent / "scripts" / "accord_serve.py"
CARD = {
    "name": "grey", "version": "2", "summary": "mean grey", "scale": "0 black, 1 white", "bradley_terry_scale": 4.0,
    "uses_prompt": False, "licence": "none", "citation": "none", "low": 0.0, "high": 1.0,
}  # fmt: skip

# The prompt says what the child does with an image; `count` counts the processes that were started.
OBEDIENT = f"""
import os, signal, sys, time
from io import BytesIO
from PIL import Image, ImageStat
from accord_serve import serve

open("{{folder}}/count", "a").write("x")

def load(device):
    print("loading on", device)
    if os.path.exists("{{folder}}/no_weights"):
        raise FileNotFoundError("weights.bin")
    if os.path.exists("{{folder}}/dies_at_load"):
        os._exit(4)
    def one(png, prompt):
        print("noise without an end", end="")
        sys.stdout.flush()
        if prompt == "die once" and not os.path.exists("{{folder}}/died"):
            open("{{folder}}/died", "w")
            os.kill(os.getpid(), signal.SIGKILL)
        if prompt == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if prompt == "exit":
            print("out of memory", file=sys.stderr, flush=True)
            os._exit(3)
        if prompt == "hang":
            time.sleep(600)
        if prompt == "raise":
            raise ValueError("cannot see it")
        if prompt == "none":
            return None
        if prompt == "far":
            return 7.0
        return sum(ImageStat.Stat(Image.open(BytesIO(png)).convert("RGB")).mean) / 3 / 255
    return lambda pngs, prompts: [one(*row) for row in zip(pngs, prompts)]

serve({CARD!r}, load)
"""


@pytest.fixture
def obedient(tmp_path):
    shutil.copy(SERVE, tmp_path)
    (tmp_path / "child.py").write_text(OBEDIENT.replace("{folder}", str(tmp_path)))
    opened = []

    def make(**settings):
        command = (sys.executable, str(tmp_path / "child.py"))
        scorer = ExternalScorer("mine", ExternalConfig(command=command, **settings), tmp_path / "logs" / "mine.txt")
        opened.append(scorer)
        return scorer

    yield make
    for scorer in opened:
        scorer.close()


@pytest.fixture
def raw(tmp_path):
    """A child given as plain code, without our half of the protocol; `say(dict)` writes a reply."""
    opened = []

    def make(code, **settings):
        head = (
            "import json, sys, os, time\n"
            f"CARD = {CARD!r}\n"
            "def say(value):\n"
            "    sys.stdout.write(chr(30) + json.dumps(value) + chr(10)); sys.stdout.flush()\n"
            "def ask():\n"
            "    request = json.loads(sys.stdin.buffer.readline())\n"
            "    for row in request.get('rows', ()):\n"
            "        sys.stdin.buffer.read(row['bytes'])\n"
            "    return request\n"
            "HELLO = {'type': 'hello', 'protocol': 1, 'card': CARD}\n"
        )
        (tmp_path / "raw.py").write_text(head + code)
        config = ExternalConfig(command=(sys.executable, str(tmp_path / "raw.py")), **settings)
        opened.append(ExternalScorer("mine", config, tmp_path / "raw.log"))
        return opened[-1]

    yield make
    for scorer in opened:
        scorer.close()


def images(*levels):
    return [np.full((6, 5 + i, 3), level, dtype=np.uint8) for i, level in enumerate(levels)]


def starts(folder):
    return len((folder / "count").read_text())


def rows(scorer, levels, prompts):
    found = {each.row: each for each in scorer.score_rows(images(*levels), prompts)}
    assert sorted(found) == list(range(len(prompts)))
    return [found[i] for i in range(len(prompts))]


def test_it_keeps_the_promises_of_a_scorer(obedient, tmp_path):
    scorer = obedient(batch_size=2)
    rng = np.random.default_rng(0)
    check_scorer(scorer, [rng.integers(0, 256, (9, 7 + i, 3), dtype=np.uint8) for i in range(5)], list("abcde"))
    assert scorer.card.name == "mine"
    assert scorer.card.version == "grey 2"
    assert starts(tmp_path) == 1


def test_a_score_is_the_number_of_the_very_pixels(obedient):
    np.testing.assert_allclose(obedient().score(images(0, 51, 255), ["", 'q"\n\x1e', "ü 猫 \ud83d\ude00"]), [0, 0.2, 1])


def test_what_it_prints_is_no_score_and_stays_in_the_log(obedient, tmp_path):
    rows(obedient(), [10, 20], ["a", "b"])
    log = (tmp_path / "logs" / "mine.txt").read_text()
    assert "loading on cpu" in log
    assert log.count("noise without an end") == 2


def test_rows_that_fail_say_why_and_cost_no_other(obedient, tmp_path):
    found = rows(obedient(), [51, 51, 51, 51, 102], ["a", "raise", "none", "far", "b"])
    assert [each.score for each in (found[0], found[4])] == [0.2, 0.4]
    assert found[1].reason == "ValueError: cannot see it"
    assert found[2].reason == "the scorer returned None"
    assert found[3].reason == "score 7 is outside the range of its card, 0.0 to 1.0"
    assert all(np.isnan(each.score) for each in found[1:4])
    assert starts(tmp_path) == 1


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [("die", "was ended by SIGKILL"), ("exit", "ended with status 3.*out of memory"), ("hang", "silent for 0.5 s")],
)
def test_an_image_that_ends_the_process_is_nan_and_the_others_are_scored(obedient, tmp_path, prompt, reason):
    scorer = obedient(batch_size=3, silence_seconds=0.5)
    found = rows(scorer, [51] * 5, ["a", "b", prompt, "c", "d"])
    assert [each.score for each in found] == pytest.approx([0.2, 0.2, np.nan, 0.2, 0.2], nan_ok=True)
    assert re.search(reason, found[2].reason)
    assert starts(tmp_path) == 3  # the batch, the row alone, and the rows behind it


def test_a_process_that_is_killed_from_outside_is_started_again(obedient, tmp_path):
    scorer = obedient()
    assert scorer.score(images(51), ["a"])[0] == 0.2
    os.kill(scorer.child.process.pid, signal.SIGKILL)
    assert scorer.score(images(102), ["a"])[0] == 0.4
    assert starts(tmp_path) == 2


def test_rows_that_were_answered_before_a_crash_are_not_asked_again(raw, tmp_path):
    asked = tmp_path / "asked"
    scorer = raw(
        "say(HELLO) if ask() else 0\nask(); say({'type': 'ready'})\n"
        "while True:\n"
        "    request = ask()\n"
        f"    open({str(asked)!r}, 'a').write(str(len(request['rows'])))\n"
        "    for row, told in enumerate(request['rows']):\n"
        "        if told['prompt'] == 'die': os._exit(1)\n"
        "        say({'type': 'score', 'id': request['id'], 'row': row, 'score': 0.5})\n"
    )
    found = rows(scorer, [1] * 4, ["a", "b", "die", "c"])
    assert [each.score for each in found] == pytest.approx([0.5, 0.5, np.nan, 0.5], nan_ok=True)
    assert asked.read_text() == "411"  # all four; then the one that kills it; then the one behind it


def test_it_stops_for_good_when_every_image_ends_it(obedient, tmp_path):
    scorer = obedient(max_restarts=2)
    kept = []
    with pytest.raises(ScorerStopped, match=r"'mine' cannot go on: it failed 3 times .* SIGKILL"):
        kept += scorer.score_rows(images(*[1] * 9), ["die"] * 9)
    assert starts(tmp_path) == 3


def test_the_count_of_failures_begins_anew_with_every_score(obedient, tmp_path):
    scorer = obedient(max_restarts=2, batch_size=1)
    found = rows(scorer, [51] * 8, ["a", "die"] * 4)
    assert [np.isnan(each.score) for each in found] == [False, True] * 4


def test_a_model_that_cannot_be_loaded_stops_at_once(obedient, tmp_path):
    (tmp_path / "no_weights").touch()
    with pytest.raises(ScorerStopped, match=r"could not load its model: FileNotFoundError: weights\.bin"):
        obedient().score(images(1), ["a"])
    assert starts(tmp_path) == 1


def test_a_model_that_dies_while_loading_is_not_loaded_again(obedient, tmp_path):
    (tmp_path / "dies_at_load").touch()
    with pytest.raises(ScorerStopped, match="could not load its model: the process ended with status 4"):
        obedient().score(images(1), ["a"])
    assert starts(tmp_path) == 1


def test_the_card_is_read_without_loading_the_model(obedient, tmp_path):
    (tmp_path / "no_weights").touch()
    assert obedient().card.bradley_terry_scale == 4.0


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("sys.exit('no module named tensorflow')", "gave no card: the process ended with status 1; .*tensorflow"),
        ("ask(); os.kill(os.getpid(), 9)", "gave no card: the process was ended by SIGKILL; it said nothing"),
        ("ask(); time.sleep(60)", r"gave no card: the process was silent for 0\.4 s"),
        ("ask(); say({**HELLO, 'protocol': 2})", "protocol 1, found 'hello' with protocol 2"),
        ("ask(); say({'type': 'ready'})", "protocol 1, found 'ready'"),
        ("ask(); say({**HELLO, 'card': 7})", "must announce its card as an object, found 7"),
        ("del CARD['scale']; ask(); say(HELLO)", "is not complete: scale: .*required"),
        ("CARD['sclae'] = 1; ask(); say(HELLO)", "no field 'sclae'; did you mean 'scale'"),
        ("CARD['bradley_terry_scale'] = 0; ask(); say(HELLO)", "scale above 0, found 0"),
        ("ask(); print('x' * 300000)", "ended with status 0.*xxx"),
        ("ask(); sys.stdout.write(chr(30) + 'x' * 2000000); sys.stdout.flush(); time.sleep(9)", "longer than 1048576"),
    ],
)
def test_a_child_that_gives_no_good_card_is_refused(raw, code, message):
    with pytest.raises(ScoringError, match=message):
        raw(code, start_seconds=0.4 if "60" in code else 20)


@pytest.mark.parametrize(
    "answer",
    [
        "{'type': 'score', 'id': 99, 'row': 0, 'score': 1}",
        "{'type': 'score', 'id': request['id'], 'row': 5, 'score': 1}",
        "{'type': 'score', 'id': request['id'], 'row': None, 'score': 1}",
        "{'type': 'tea'}",
        "{'type': 'failed', 'error': 'the GPU is gone'}",
    ],
)
def test_an_answer_out_of_turn_stops_the_run(raw, answer):
    scorer = raw(f"ask(); say(HELLO); ask(); say({{'type': 'ready'}}); request = ask(); say({answer}); ask()")
    with pytest.raises(ScorerStopped, match=r"cannot go on: it (answered|says: the GPU is gone)"):
        scorer.score(images(1), ["a"])


@pytest.mark.parametrize("score", ["'0.5'", "None", "True", "float('nan')", "float('inf')", "[0.5]"])
def test_an_answer_that_is_no_number_is_a_row_that_failed(raw, score):
    scorer = raw(
        "ask(); say(HELLO); ask(); say({'type': 'ready'}); request = ask()\n"
        f"say({{'type': 'score', 'id': request['id'], 'row': 0, 'score': {score}}}); ask()"
    )
    found = rows(scorer, [1], ["a"])[0]
    assert np.isnan(found.score)
    assert "instead of a number" in found.reason or "the scorer returned" in found.reason


def test_replies_may_come_byte_by_byte_out_of_order_and_among_garbage(raw):
    scorer = raw(
        "def say(value):\n"
        "    os.write(1, b'garbage \\xff\\x1e{broken' + os.urandom(3).replace(b'\\n', b'') + b'\\nprogress 3%')\n"
        "    for byte in (chr(30) + json.dumps(value) + chr(10)).encode(): os.write(1, bytes([byte]))\n"
        "ask(); say(HELLO); ask(); say({'type': 'ready'}); request = ask()\n"
        "for row in (2, 0, 1): say({'type': 'score', 'id': request['id'], 'row': row, 'score': row / 4})\n"
        "ask()"
    )
    assert [each.score for each in rows(scorer, [1, 2, 3], list("abc"))] == [0, 0.25, 0.5]


def test_large_images_pass_while_the_child_talks_without_reading(raw):
    """Both pipes full at once: neither side may wait for the other for ever."""
    scorer = raw(
        "ask(); say(HELLO); ask(); say({'type': 'ready'})\n"
        "os.write(1, b'x' * 3000000 + b'\\n'); request = ask(); os.write(1, b'x' * 3000000 + b'\\n')\n"
        "for row in range(3): say({'type': 'score', 'id': request['id'], 'row': row, 'score': 0.5})\n"
        "ask()",
        silence_seconds=20,
    )
    noise = np.random.default_rng(0).integers(0, 256, (3, 700, 700, 3), dtype=np.uint8)
    np.testing.assert_array_equal(scorer.score(list(noise), list("abc")), [0.5] * 3)


def test_a_child_that_reads_a_little_and_then_talks_a_lot_gets_its_whole_batch(raw):
    """It makes room for less than we would like to write at once: we must write what fits and listen again."""
    scorer = raw(
        "import signal; signal.alarm(20)\n"  # a deadlock ends
        "ask(); say(HELLO); ask(); say({'type': 'ready'})\n"
        "head = b''\n"
        "for _ in range(5):\n"
        "    time.sleep(0.1)\n"  # until the pipe is full
        "    head += os.read(0, 8192)\n"
        "    os.write(1, b'x' * 300000 + b'\\n')\n"
        "line, _, begun = head.partition(b'\\n')\n"
        "request = json.loads(line)\n"
        "sys.stdin.buffer.read(sum(row['bytes'] for row in request['rows']) - len(begun))\n"
        "for row in range(3): say({'type': 'score', 'id': request['id'], 'row': row, 'score': 0.5})\n"
        "ask()",
        max_restarts=0,
    )
    noise = np.random.default_rng(0).integers(0, 256, (3, 300, 300, 3), dtype=np.uint8)
    np.testing.assert_array_equal(scorer.score(list(noise), list("abc")), [0.5] * 3)


def test_our_packages_do_not_reach_its_environment_and_its_own_variables_do(raw, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.setenv("HF_HOME", "/models")
    scorer = raw(
        "CARD['summary'] = repr([os.environ.get(name) for name in ('PYTHONPATH', 'HF_HOME', 'MINE')])\n"
        "ask(); say(HELLO); ask()",
        environment={"MINE": "yes"},
    )
    assert scorer.card.summary == "[None, '/models', 'yes']"


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ScoringError, match="'no/such/python' cannot be started: No such file"):
        ExternalScorer("mine", ExternalConfig(command=("no/such/python", "x.py")), tmp_path / "log")


def test_a_process_that_is_stopped_is_ended_and_started_again(obedient, tmp_path):
    scorer = obedient(silence_seconds=0.5)
    scorer.score(images(1), ["a"])
    os.kill(scorer.child.process.pid, signal.SIGSTOP)
    assert scorer.score(images(51), ["a"])[0] == 0.2
    assert starts(tmp_path) == 2


def test_a_process_that_comes_back_as_another_scorer_stops_the_run(obedient, tmp_path):
    scorer = obedient()
    child = tmp_path / "child.py"
    child.write_text(child.read_text().replace("'version': '2'", "'version': '3'"))
    with pytest.raises(ScorerStopped, match="after its restart it announced another card"):
        scorer.score(images(1), ["die"])


def test_a_long_log_is_quoted_from_its_end_only(raw, tmp_path):
    with pytest.raises(ScoringError) as caught:
        raw("ask(); sys.stderr.write('spam ' * 100_000 + 'the end'); sys.exit(5)")
    assert "the end; its command" in str(caught.value)
    assert len(str(caught.value)) < 700


def test_closing_ends_the_process_and_what_it_started(raw, tmp_path):
    scorer = raw(
        "import subprocess\n"
        "helper = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "CARD['summary'] = str(helper.pid); ask(); say(HELLO); ask()"
    )
    child, helper = scorer.child.process, int(scorer.card.summary)
    scorer.close()
    assert child.poll() is not None
    deadline = time.monotonic() + 5
    while _is_running(helper) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_running(helper)


def test_a_forgotten_scorer_ends_its_process(raw, tmp_path):
    scorer = raw("ask(); say(HELLO); ask()")
    process = scorer.child.process
    scorer.child = None
    assert process.wait(5) is not None


def _is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
