"""Progress where there is no terminal."""

from accord.cli import terminal


def test_a_log_has_a_line_of_progress_a_minute_and_no_bars(monkeypatch, capsys):
    clock = [1000.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    with terminal.progress_bars() as bar_of:
        report = bar_of("generate")
        for done in range(5, 11):
            report(done, 105, "images [a]")
            clock[0] += 25
    assert capsys.readouterr().out.splitlines() == ["generate: images [a] 8 of 105 after 0:01:15, 0:40:25 left"]


def test_work_of_unknown_length_is_told_without_the_time_left(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    report = terminal.progress_lines("import")
    report(0, 0, "rows")
    clock[0] = 4000
    report(16, 0, "rows")
    assert capsys.readouterr().out == "import: rows 16 after 1:06:40\n"
