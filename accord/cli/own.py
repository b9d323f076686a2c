"""`accord import`, `accord validate` and the rows of their tables: images and pairs of one's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from accord.cli.terminal import console, progress_bars
from accord.errors import ConfigError

if TYPE_CHECKING:
    from accord.manifest import Manifest
    from accord.own.sources.opening import SourceOptions
    from accord.own.validate import Findings

FAULTS, UNUSABLE = 3, 1  # exit statuses; 0: clean

Images = Annotated[str, typer.Option(help="Folder that relative paths of images are in; default: the data's own.")]
Split = Annotated[str, typer.Option(help="Of a dataset repository.")]
Subset = Annotated[str, typer.Option(help="Of a dataset repository that has several.")]
Revision = Annotated[str, typer.Option(help="Of a dataset repository: branch, tag or commit.")]
Rename = Annotated[list[str] | None, typer.Option(help="Read column THEIRS as OURS: --rename win=chosen. Repeatable.")]
MinConfidence = Annotated[float, typer.Option(min=0, max=1, help="Leave out labels that are less sure than this.")]


def import_(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE... FOLDER",
            help="Files (.parquet, .json, .jsonl), a folder, or a dataset OWNER/NAME; then the folder to fill.",
        ),
    ],
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the run: its generate.width and generate.height.")],
    images: Images = "",
    split: Split = "train",
    subset: Subset = "",
    revision: Revision = "",
    rename: Rename = None,
    min_confidence: MinConfidence = 0.0,
    image_format: Annotated[
        Literal["png", "jpeg", "webp"], typer.Option(help="Of images that are resized; others keep their bytes.")
    ] = "png",
    rows_per_shard: Annotated[int, typer.Option(help="What a killed import may lose; a multiple of 16.")] = 64,
    redo: Annotated[
        bool, typer.Option("--redo", help="Replace what other data or settings left in the folder.")
    ] = False,
) -> None:
    """Take in your own images and pairs: accord import pairs.parquet data/mine --size 1024x1024."""
    if len(paths) < 2:
        raise ConfigError("needs at least one source and the folder to fill: accord import pairs.parquet data/mine")
    width, height = parse_size(size)
    options = source_options(images, split, subset, revision, rename)
    from accord.own.importing import ImportSettings, import_pool

    settings = ImportSettings(width, height, image_format, min_confidence, rows_per_shard)
    folder = Path(paths[-1])
    with progress_bars() as bar_of:
        outcome = import_pool(paths[:-1], folder, settings, options, redo, bar_of("import"))
    console.print(_imported(outcome.manifest, outcome.was_reused))
    console.print(
        f"\nin the run file:  \\[generate] imported = {escape(repr(str(folder)))}, width = {width}, height = {height}\n"
        '                  \\[method] pairs = "labelled"   (or any rule over scores)'
    )


def validate_(
    paths: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="What `accord import` reads: files, a folder, OWNER/NAME.")
    ],
    images: Images = "",
    split: Split = "train",
    subset: Subset = "",
    revision: Revision = "",
    rename: Rename = None,
    min_confidence: MinConfidence = 0.0,
    json: Annotated[Path | None, typer.Option(help="Write the findings to this file, too.")] = None,
) -> None:
    """Check your own images and pairs, and say how many pairs remain. Writes nothing.

    Exit status 0: nothing is wrong; 3: pairs remain, but something is damaged, missing or without a valid label; 1: no
    pair remains, or nothing can be read. Ties, repeated and contradictory labels are told and are no faults.
    """
    from accord.files import write_json
    from accord.own.validate import validate

    options = source_options(images, split, subset, revision, rename, allow_damage=True)
    with progress_bars() as bar_of:
        findings = validate(paths, options, min_confidence, bar_of("validate"))
    if json is not None:
        write_json(json, findings.as_json())
    console.print(findings_table(findings))
    colour = {"clean": "green", "faults": "yellow", "unusable": "red"}[findings.status]
    console.print(f"[{colour}]{findings.usable} pairs remain[/] ({findings.pairs['ties']} ties beside them)")
    if findings.status != "clean":
        raise typer.Exit(FAULTS if findings.status == "faults" else UNUSABLE)


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of `1024x768`, or of `1024` for a square. Raises ConfigError otherwise."""
    found = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text.strip())
    if not found:
        raise ConfigError(f"--size needs WIDTHxHEIGHT in pixels, such as 1024x1024, not '{text}'")
    return int(found[1]), int(found[2] or found[1])


def source_options(
    images: str, split: str, subset: str, revision: str, rename: list[str] | None, allow_damage: bool = False
) -> SourceOptions:
    """Return the options as the reader takes them. Raises ConfigError for a --rename that is not THEIRS=OURS."""
    from accord.own.sources.opening import SourceOptions

    names: dict[str, str] = {}
    for text in rename or []:
        theirs, equals, ours = text.partition("=")
        if not (theirs and equals and ours):
            raise ConfigError(f"--rename needs THEIRS=OURS, such as image_w=chosen, not '{text}'")
        names[theirs] = ours
    return SourceOptions(images, split, subset or None, revision or None, names, allow_damage)


def findings_table(findings: Findings) -> Table:
    """Return everything that was counted, with the place where each fault is met first."""
    table = Table("", "count", "first at", title=f"layout: {findings.layout}", title_justify="left")
    add = lambda what, count, first="": table.add_row(escape(what), str(count), escape(first))  # noqa: E731
    add("rows", findings.rows)
    add("prompts", findings.prompts)
    add("  with one image only", findings.prompts_with_one_image)
    add("images", findings.images)
    for size, count in findings.sizes.most_common(8):
        add(f"  of {size}", count)
    others = len(findings.sizes) - 8
    if others > 0:
        add(f"  of {others} other sizes", sum(count for _, count in findings.sizes.most_common()[8:]))
    add("  shown with several prompts", findings.images_of_several_prompts)
    add("pairs", findings.pairs["pairs"])
    add("  decided", findings.pairs["decided"])
    add("  ties", findings.pairs["ties"])
    add("  with contradictory labels (the majority counts)", findings.pairs["contradictory"])
    add("  labels of a pair that has one already", findings.pairs["repeated"])
    add("  of images of two sizes", findings.pairs_of_different_sizes, findings.first.get("pair: two sizes", ""))
    if findings.left_out or findings.damaged_files:
        table.add_section()
    for name, why in findings.damaged_files.items():
        add(f"file cannot be read: {why}", 1, name)
    for reason, count in sorted(findings.left_out.items(), key=lambda item: (-item[1], item[0])):
        add(f"left out, {reason}", count, findings.first[reason])
    return table


def _imported(manifest: Manifest, was_reused: bool) -> str:
    """Return the line about an import, and a line for each reason why something was left out."""
    c = manifest.counts
    made = ", ".join(
        f"{c[key]} {words}"
        for key, words in (
            ("images_kept_as_found", "kept as they are"),
            ("images_cropped", "cropped"),
            ("images_enlarged", "enlarged"),
        )
        if c.get(key)
    )
    head = f"[green]✓[/] import: {'finished before, reused; ' if was_reused else ''}"
    lines = [
        f"{head}{c['rows']} rows, {c['prompts']} prompts, {c['images']} images ({made or 'all resized'})",
        f"  {c['pairs']} pairs: {c['decided']} decided, {c['ties']} ties, {c['contradictory']} with labels both ways",
    ]
    lines += [f"  left out, {escape(reason)}: {count}" for reason, count in sorted(c["left_out"].items())]
    return "\n".join(lines)
