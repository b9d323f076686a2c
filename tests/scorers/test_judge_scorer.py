"""Judges against a real HTTP server on this machine, which is slow, wrong, rude, dies and comes back."""

import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
import pytest

from accord.errors import ConfigError, ScorerStopped, ScoringError
from accord.outside import JudgeConfig
from accord.runfile import parse_config
from accord.scorers.judge.budget import Budget
from accord.scorers.judge.endpoint import Endpoint
from accord.scorers.judge.pairwise import compare_images
from accord.scorers.judge.scorer import MAX_UNANSWERED, JudgeScorer, judge_version
from accord.testing.checks import check_scorer
from accord.testing.endpoint import Response, completion, serving

YES = completion("Yes", {"Yes": 0.75, "No": 0.25})


def brightness(question):
    """A model whose yes follows from the pixels and the length of the prompt."""
    yes = 0.05 + 0.8 * float(question.images[0].mean()) / 255 + 0.1 * (len(question.text) % 7) / 7
    return completion("Yes", {"Yes": yes, "No": 1 - yes})


def images(*levels):
    return [np.full((6, 8, 3), level, dtype=np.uint8) for level in levels]


@pytest.fixture
def judge(tmp_path):
    """Make a judge; its pauses are noted in `pauses` instead of slept."""

    def make(server, **settings):
        pauses = []
        told = {"url": server.url, "model": "m", "timeout_seconds": 5.0, "max_retries": 3, **settings}
        scorer = JudgeScorer("mine", JudgeConfig(**told), tmp_path / "spent.json", sleep=pauses.append)
        scorer.pauses = pauses
        return scorer

    return make


def rows(scorer, levels, prompts):
    found = {each.row: each for each in scorer.score_rows(images(*levels), prompts)}
    assert sorted(found) == list(range(len(prompts)))
    return [found[i] for i in range(len(prompts))]


def collect(kept, found):
    """Append one by one: a list made in one go would be lost with the error."""
    for each in found:
        kept.append(each)


def test_it_keeps_the_promises_of_a_scorer(judge):
    rng = np.random.default_rng(0)
    with serving(brightness) as server:
        pictures = [rng.integers(0, 256, (9, 7 + i, 3), dtype=np.uint8) for i in range(5)]
        check_scorer(judge(server), pictures, ["a", "bc", "def", "ghij", "klmno"])


def test_what_is_sent(judge):
    with serving(lambda question: YES) as server:
        scorer = judge(server, longest_side=4)
        assert scorer.score(images(51), ['a "big" cat'])[0] == 0.75
        question = server.questions[0]
    assert question.path == "/v1/chat/completions"
    assert question.text == 'Does this figure show "a "big" cat"? Please answer Yes or No.'
    np.testing.assert_array_equal(question.images[0], np.full((3, 4, 3), 51))
    kept = {key: value for key, value in question.body.items() if key != "messages"}
    assert kept == {"model": "m", "temperature": 0, "max_tokens": 1, "logprobs": True, "top_logprobs": 20}
    assert "Authorization" not in question.headers


def test_each_rubric_asks_its_own_question_and_a_question_of_ones_own_replaces_it(judge):
    with serving(lambda question: completion("cat: 1\nFinal Score: 3.5", {"good": 0.9, "bad": 0.1})) as server:
        assert judge(server, rubric="unified_reward").score(images(1), ["x"])[0] == 3.5
        assert judge(server, rubric="five_levels").score(images(1), ["x"])[0] == pytest.approx(3.7)
        own = judge(server, rubric="five_levels", question="How sharp is {prompt}?")
        own.score(images(1), ["a cat"])
        assert "Text Caption: [x]" in server.questions[0].text
        assert "x" not in server.questions[1].text.replace("excellent", "")
        assert server.questions[2].text == "How sharp is a cat?"
    assert own.card.uses_prompt
    assert not judge(server, rubric="five_levels").card.uses_prompt


def test_the_version_says_all_that_decides_a_score_and_nothing_else():
    def version(**settings):
        return judge_version(JudgeConfig(**{"model": "m", **settings}))

    assert version() == version(url="https://x.org/v1", concurrency=1, max_requests=5, timeout_seconds=1)
    others = [version(model="n"), version(revision="2"), version(rubric="five_levels"), version(question="Is it?")]
    assert len({version(), *others, version(longest_side=512)}) == 6


def test_questions_are_asked_at_the_same_time_but_not_too_many(judge):
    gate = threading.Barrier(3, timeout=10)

    def together(question):
        gate.wait()  # passes only if three questions are there at once
        return YES

    with serving(together) as server:
        judge(server, concurrency=3).score(images(*range(9)), ["x"] * 9)
        assert server.most_at_a_time == 3


@pytest.mark.parametrize(
    ("headers", "pauses"),
    [
        ({}, [0.5, 1.0, 2.0]),
        ({"Retry-After": "7"}, [7.0, 7.0, 7.0]),
        ({"Retry-After": "soon"}, [0.5, 1.0, 2.0]),
        ({"Retry-After": "nan"}, [0.5, 1.0, 2.0]),
    ],
)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again_after_a_pause(judge, status, headers, pauses):
    def busy(question):
        return Response(b"busy", status, headers) if question.number < 3 else YES

    with serving(busy) as server:
        scorer = judge(server)
        assert scorer.score(images(1), ["x"])[0] == 0.75
    assert scorer.pauses == pauses


def test_a_date_to_come_back_at_is_kept(judge):
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    with serving(lambda q: YES if q.number else Response(b"", 429, {"Retry-After": when})) as server:
        scorer = judge(server)
        scorer.score(images(1), ["x"])
    assert 90 < scorer.pauses[0] < 101


def test_a_server_that_asks_for_an_hour_stops_the_run(judge):
    with serving(lambda q: Response(b"daily limit", 429, {"Retry-After": "3600"})) as server:
        scorer = judge(server)
        with pytest.raises(ScorerStopped, match=r"asks to wait for 3600 s \(HTTP 429: daily limit\)"):
            scorer.score(images(1), ["x"])
    assert scorer.pauses == []


BAD = {
    "error": (Response(b"<h1>boom</h1>", 500), r"HTTP 500: <h1>boom</h1> \(4 tries\)"),
    "garbage": (Response(b"\x00\xffnot json"), "the answer is .*4 tries"),
    "other json": (Response(b'{"error": "overloaded"}'), r"no chat completion \(KeyError"),
    "cut short": (Response(YES.body, cut_to=30), r"the connection broke: .*4 tries"),
    "half a json": (Response(YES.body[:30]), "the answer is .*4 tries"),
    "silence": (Response(delay_seconds=0.8), r"no answer within 0\.2 s"),
    "drip": (Response(YES.body, drip_seconds=0.05), r"no answer within 0\.2 s"),
    "endless": (Response(b"x" * (5 << 20)), "no answer within"),
    "dropped": (Response(drops=True), "the connection broke"),
    "no such zip": (Response(b"xx", headers={"Content-Encoding": "gzip"}), "cannot be decoded"),
}


@pytest.mark.parametrize("kind", BAD)
def test_an_image_without_an_answer_is_nan_with_the_reason_and_costs_no_other(judge, kind):
    response, reason = BAD[kind]
    slow = "within 0" in reason
    with serving(lambda q: response if '"bad"' in q.text else YES) as server:
        scorer = judge(server, timeout_seconds=0.2 if slow else 5, max_retries=1 if slow else 3)
        found = rows(scorer, [1, 2, 3], ["a", "bad", "c"])
        assert len(server.questions) == 2 + (2 if slow else 4)
    assert [each.score for each in found] == pytest.approx([0.75, np.nan, 0.75], nan_ok=True)
    assert re.search(reason, found[1].reason)


def test_a_question_that_is_refused_is_not_asked_again(judge):
    refusal = Response(b'{"error": "image violates the policy"}', 400)
    with serving(lambda q: refusal if '"bad"' in q.text else YES) as server:
        found = rows(judge(server), [1, 2], ["a", "bad"])
        assert len(server.questions) == 2
    assert found[1].reason == 'HTTP 400: {"error": "image violates the policy"}'


NEWER = Response(
    b'{"error": {"message": "Unsupported parameter: \'max_tokens\' is not supported with this model. '
    b'Use \'max_completion_tokens\' instead.", "param": "max_tokens", "code": "unsupported_parameter"}}',
    400,
)


def test_an_endpoint_that_knows_max_completion_tokens_only_is_asked_so(judge):
    with serving(lambda q: NEWER if "max_tokens" in q.body else YES) as server:
        scorer = judge(server, concurrency=1, max_retries=0)
        assert scorer.score(images(1, 2, 3), ["a", "b", "c"]).tolist() == [0.75] * 3
        told = [{key for key in question.body if key.startswith("max_")} for question in server.questions]
    assert told == [{"max_tokens"}, *[{"max_completion_tokens"}] * 3]
    assert server.questions[1].body["max_completion_tokens"] == 1
    assert scorer.pauses == []
    assert scorer.endpoint.budget.spent()["requests"] == 4


def test_questions_that_were_on_their_way_with_the_older_name_are_asked_again(judge):
    gate = threading.Barrier(3, timeout=10)

    def answer(question):
        if "max_tokens" in question.body:
            gate.wait()
            return NEWER
        return YES

    with serving(answer) as server:
        assert judge(server, concurrency=3).score(images(1, 2, 3), ["x"] * 3).tolist() == [0.75] * 3
        assert len(server.questions) == 6


def test_an_endpoint_that_refuses_both_names_says_so_once(judge):
    with serving(lambda q: NEWER) as server:
        found = rows(judge(server, concurrency=1), [1, 2], ["a", "b"])
        assert len(server.questions) == 3
    assert "max_completion_tokens" in found[0].reason


def test_an_answer_that_cannot_be_read_is_nan_and_its_text_is_kept(judge):
    with serving(lambda q: completion("I cannot rate people.")) as server:
        found = rows(judge(server, rubric="unified_reward"), [1], ["a"])[0]
        assert len(server.questions) == 1
    assert np.isnan(found.score)
    assert found.reason == "the answer has no 'Final Score:' with a number"
    assert found.reply == "I cannot rate people."


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_what_no_image_can_change_stops_the_run_at_once(judge, status):
    with serving(lambda q: Response(b"no such model", status, {"Location": "http://example.org/"})) as server:
        with pytest.raises(ScorerStopped, match=f"HTTP {status}: no such model; what it scored is kept"):
            judge(server, concurrency=1).score(images(*range(5)), ["x"] * 5)
        assert len(server.questions) == 1


def test_a_server_that_answers_nobody_stops_the_run(judge):
    with serving(lambda q: Response(b"out of memory", 500)) as server:
        with pytest.raises(ScorerStopped, match=f"no answer to {MAX_UNANSWERED} images in a row.*out of memory"):
            judge(server, max_retries=0, concurrency=2).score(images(*range(60)), ["x"] * 60)
        assert len(server.questions) < 30


def test_a_server_that_dies_half_way_and_comes_back_is_waited_for(tmp_path):
    lock = threading.Lock()

    def answer(question):
        if question.number == 5:
            server.stop()
            return Response(drops=True)
        return brightness(question)

    def come_back(seconds):
        with lock:
            server.start()

    with serving(answer) as server:
        config = JudgeConfig(url=server.url, model="m", max_retries=6, concurrency=2)
        scorer = JudgeScorer("mine", config, tmp_path / "spent.json", sleep=come_back)
        levels = list(range(0, 240, 20))
        found = scorer.score(images(*levels), ["x"] * len(levels))
    with serving(brightness) as healthy:
        config = JudgeConfig(url=healthy.url, model="m")
        expected = JudgeScorer("mine", config, tmp_path / "other.json").score(images(*levels), ["x"] * len(levels))
    assert len(set(found)) == len(levels)
    np.testing.assert_array_equal(found, expected)


def test_a_server_that_is_gone_for_good_stops_the_run_and_keeps_what_it_answered(judge):
    def answer(question):
        if question.number == 3:
            server.stop()
            return Response(drops=True)
        return YES

    kept = []
    with serving(answer) as server:
        scorer = judge(server, concurrency=1)
        with pytest.raises(ScorerStopped, match=r"cannot connect to 127\.0\.0\.1.*4 tries"):
            collect(kept, scorer.score_rows(images(*range(9)), ["x"] * 9))
    assert [each.score for each in kept] == [0.75] * 3


def test_an_address_where_nobody_listens_is_told_at_once(judge):
    with serving(brightness) as server:
        server.stop()
        scorer = judge(server, concurrency=1)
        with pytest.raises(ScorerStopped, match="is the server running"):
            scorer.score(images(1, 2), ["x", "y"])
    assert scorer.pauses == []


def test_who_wants_no_more_rows_waits_for_no_retries(tmp_path):
    """A caller that stops, as Ctrl-C does, must not sit through the pauses of all other rows."""
    with serving(lambda q: YES if q.number == 0 else Response(b"busy", 503)) as server:
        config = JudgeConfig(url=server.url, model="m", max_retries=8, concurrency=4)
        found = JudgeScorer("mine", config, tmp_path / "spent.json").score_rows(images(*range(9)), ["x"] * 9)
        next(found)
        start = time.monotonic()
        found.close()
        assert time.monotonic() - start < 5  # with all pauses it would be two minutes


def test_the_key_comes_from_the_environment_and_stays_out_of_messages(judge, monkeypatch, tmp_path):
    def answer(question):
        key = question.headers["Authorization"].removeprefix("Bearer ")
        return Response(f"bad key {key}".encode(), 401)

    with serving(answer) as server:
        with pytest.raises(ScoringError, match="environment variable MY_KEY, which is not set"):
            judge(server, key_variable="MY_KEY")
        monkeypatch.setenv("MY_KEY", " sk-secret-123 \n")
        with pytest.raises(ScorerStopped, match=r"bad key \[key\]") as caught:
            judge(server, key_variable="MY_KEY").score(images(1), ["x"])
        assert server.questions[0].headers["Authorization"] == "Bearer sk-secret-123"
    assert "secret" not in str(caught.value)
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_proxy_does_not_stand_between_us_and_this_machine(judge, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(lambda q: YES) as server:
        assert judge(server).score(images(1), ["x"])[0] == 0.75


def test_the_budget_counts_every_request_and_stops_before_it_is_passed(judge, tmp_path):
    with serving(lambda q: Response(b"", 500) if q.number == 0 else YES) as server:
        kept = []
        with pytest.raises(ScorerStopped, match=r"spent its budget of 5 requests .*raise max_requests"):
            collect(kept, judge(server, max_requests=5, concurrency=1).score_rows(images(*range(9)), ["x"] * 9))
        assert len(server.questions) == 5
        assert len(kept) == 4
        with pytest.raises(ScorerStopped, match="budget of 5 requests"):
            judge(server, max_requests=5).score(images(1), ["x"])
        assert len(server.questions) == 5
        judge(server, max_requests=6).score(images(1), ["x"])
    assert json.loads((tmp_path / "spent.json").read_text()) == {"requests": 6, "tokens": 50}


def test_a_budget_of_tokens_stops_and_needs_a_server_that_counts(judge):
    with serving(lambda q: completion("Yes", {"Yes": 0.9}, tokens=400)) as server:
        with pytest.raises(ScorerStopped, match="budget of 1000 tokens"):
            judge(server, max_tokens=1000, concurrency=1).score(images(*range(9)), ["x"] * 9)
        assert len(server.questions) == 3
    with (
        serving(lambda q: completion("Yes", {"Yes": 0.9}, tokens=None)) as server,
        pytest.raises(ScorerStopped, match="reports no usage; use max_requests"),
    ):
        judge(server, max_tokens=10_000).score(images(1), ["x"])


def test_threads_share_one_count(tmp_path):
    budget = Budget("mine", tmp_path / "spent.json", 150, None)

    def spend():
        for _ in range(25):
            budget.take_request()

    threads = [threading.Thread(target=spend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.spent()["requests"] == 150
    with pytest.raises(ScorerStopped):
        budget.take_request()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "ftp://x.org"}, "needs http:// or https://"),
        ({"url": "127.0.0.1:8000"}, "needs http:// or https://"),
        ({"url": "https://me:pw@x.org/v1"}, "holds a password or a query"),
        ({"url": "https://x.org/v1?key=3"}, "holds a password or a query"),
        ({"url": "http://x.org/v1", "key_variable": "KEY"}, "unencrypted to x.org; use https"),
        ({"rubric": "taste"}, "'unified_reward', 'yes_no' or 'five_levels'"),
        ({"modle": "m"}, "no such key; did you mean 'model'"),
        ({"concurrency": 0}, "greater than or equal to 1"),
    ],
)
def test_a_run_file_with_a_judge_that_cannot_work_is_refused(settings, message):
    with pytest.raises(ConfigError, match=f"score.judges.mine.*{re.escape(message)}"):
        parse_config({"score": {"judges": {"mine": {"model": "m", **settings}}}})


@pytest.mark.parametrize(
    ("url", "is_local"),
    [("http://localhost:1", True), ("http://127.0.0.2:1", True), ("http://[::1]:1", True), ("http://10.0.0.1", False)],
)
def test_this_machine_is_told_from_others(url, is_local):
    assert JudgeConfig(url=url, model="m").is_local == is_local


def verdicts(answer, tmp_path, levels=((200, 10), (10, 200), (50, 50))):
    with serving(answer) as server:
        config = JudgeConfig(url=server.url, model="m", max_retries=0)
        endpoint = Endpoint("mine", config, Budget("mine", tmp_path / "s.json", None, None))
        first, second = images(*(a for a, _ in levels)), images(*(b for _, b in levels))
        return compare_images(endpoint, first, second, ["x"] * len(levels)), server.questions


def brighter(question):
    left, right = (float(image.mean()) for image in question.images)
    if left == right:
        return completion("Both images are equally good.")
    return completion(f"Image {1 if left > right else 2} is better.")


def test_a_good_judge_is_believed(tmp_path):
    found, questions = verdicts(brighter, tmp_path)
    np.testing.assert_array_equal(found.preference, [1, 0, 0.5])
    assert found.labels == ("a", "b", "tie")
    assert found.share_of_place == 0
    assert len(questions) == 6


def test_a_judge_that_goes_by_the_place_prefers_nothing(tmp_path):
    found, _ = verdicts(lambda q: completion("Image 1 is better."), tmp_path)
    np.testing.assert_array_equal(found.preference, [0.5] * 3)
    assert found.labels == ("tie",) * 3
    assert found.share_of_place == 1


def test_one_order_without_a_verdict_is_no_verdict(tmp_path):
    def moody(question):
        dark_first = question.images[0].mean() < question.images[1].mean()
        return completion("I cannot say.") if dark_first else brighter(question)

    found, _ = verdicts(moody, tmp_path)
    np.testing.assert_array_equal(found.preference, [np.nan, np.nan, 0.5])
    assert found.labels == ("", "", "tie")
    assert found.reasons[0].startswith("the answer names neither")
    assert found.reasons[2] == ""
