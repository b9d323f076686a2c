"""README and docs are true: their code runs, their commands parse, their links lead somewhere.

A page's blocks are taken in order, in one folder and one namespace. An HTML comment before a block says more:
`<!-- file: NAME -->` also writes it to that file first; `<!-- not executed: reason -->` leaves it unexecuted, and
commands are then parsed only.
"""

import importlib
import re
import shlex
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from accord import registry
from accord.cli.app import app
from accord.runfile import load_config, parse_config

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CHEAP = {"list", "show", "init", "plan", "validate", "import", "--version", "--help"}
BLOCK = re.compile(
    r"^(?:<!-- (?P<remark>file|not executed): (?P<told>[^\n]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    file: str
    not_executed: str


def blocks(page: Path) -> list[Block]:
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        told = {match["remark"]: match["told"]} if match["remark"] else {}
        found.append(Block(match["language"], match["text"], told.get("file", ""), told.get("not executed", "")))
    return found


def commands(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines() if line.removeprefix("$ ").startswith("accord ")]


def title(page: Path) -> str:
    return str(page.relative_to(ROOT))


def parse_command(command: str) -> None:
    """Raise if the command does not exist or does not take these options; check overrides if its run file is there."""
    words = shlex.split(command, comments=True)[1:]
    words = words[: words.index(">")] if ">" in words else words
    found = typer.main.get_command(app)
    while hasattr(found, "commands"):
        assert words[0] in found.commands, f"no command {words[0]}"
        found, words = found.commands[words[0]], words[1:]
    told = found.make_context(found.name, list(words)).params
    if told.get("run_file") and Path(told["run_file"]).is_file():
        load_config(Path(told["run_file"]), told["set_"] or [])


def run_command(command: str) -> None:
    """Run a cheap command; `> FILE` is the shell's."""
    words = shlex.split(command, comments=True)[1:]
    words, file = (words[:-2], words[-1]) if ">" in words else (words, "")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"{command}: {done.output} {done.exception}"
    if file:
        Path(file).write_text(done.output)


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_what_a_page_shows_works(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    names: dict = {"__name__": "documentation"}
    for block in blocks(page):
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text)
        if block.language == "python" and not block.not_executed:
            exec(compile(block.text, title(page), "exec"), names)
        elif block.language == "python":
            compile(block.text, title(page), "exec")
        elif block.language == "toml" and block.file != "pyproject.toml":
            parse_config(tomllib.loads(block.text))
        elif block.language in ("console", "bash"):
            for command in commands(block.text):
                parse_command(command)
                if command.split()[1] in CHEAP and not block.not_executed:
                    run_command(command)
    for name in set(sys.modules) - before:  # files that the page wrote must not be found by the next one
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{title(page)}: {target} does not exist"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{title(page)}: {target} has no such heading"


def test_every_page_is_reached_from_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md") if page.name != "index.md"]
    scorers = (ROOT / "docs" / "reference" / "scorers.md").read_text()
    unreached = [page for page in pages if f"({page})" not in index]
    assert not [page for page in unreached if f"({page.removeprefix('reference/')})" not in scorers]


def test_blocks_are_all_seen():
    """A fence that the pattern misses would never be tested."""
    for page in PAGES:
        fences = re.findall(r"^```\w", page.read_text(), re.M)
        assert len(fences) == len(blocks(page)), title(page)


def test_a_wrong_command_is_noticed():
    with pytest.raises(AssertionError, match="no command"):
        parse_command("accord runn run.toml")
    with pytest.raises(Exception, match="No such option"):
        parse_command("accord run run.toml --rdo")


def test_the_entry_point_of_the_scorer_page_is_found(tmp_path, monkeypatch):
    """The page's pyproject.toml, installed, makes the page's scorer a name of run files."""
    page = {block.file: block.text for block in blocks(ROOT / "docs" / "guide" / "adding-a-scorer.md") if block.file}
    (tmp_path / "brightness.py").write_text(page["brightness.py"])
    project = tomllib.loads(page["pyproject.toml"])["project"]
    info = tmp_path / f"my_scorers-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, entries),) = project["entry-points"].items()
    (info / "entry_points.txt").write_text(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()))
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert registry.load("scorers", "brightness").card.name == "brightness"
    assert parse_config({"score": {"scorers": ["brightness"]}}).score.scorers == ("brightness",)
    del sys.modules["brightness"]
