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
from accord.wording import counted

if TYPE_CHECKING:
    from accord.manifest import Manifest
    from accord.own.sources.opening import SourceOptions
    from accord.own.validate import Findings

FAULTS, UNUSABLE = 3, 1  # exit statuses; 0: clean
SIZES_TOLD = 8  # the most frequent ones
LARGEST_SIDE = 8192  # more is a slip of the finger, and more memory than there is

READING, HUB, WRITING = "Reading", "A dataset of a hub", "Writing"  # groups of options in --help

Images = Annotated[
    str,
    typer.Option(
        metavar="FOLDER",
        help="Where relative paths of images begin; default: beside the data.",
        rich_help_panel=READING,
    ),
]
Rename = Annotated[
    list[str] | None,
    typer.Option(
        metavar="THEIRS=OURS", help="Read the column THEIRS as OURS: win=chosen. Repeatable.", rich_help_panel=READING
    ),
]
MinConfidence = Annotated[
    float,
    typer.Option(
        metavar="SHARE",
        min=0,
        max=1,
        help="Leave out labels that are less sure than this; ties stay.",
        rich_help_panel=READING,
    ),
]
Split = Annotated[str, typer.Option(metavar="NAME", help="Which split to read.", rich_help_panel=HUB)]
Subset = Annotated[
    str, typer.Option(metavar="NAME", help="Which configuration, if there are several.", rich_help_panel=HUB)
]
Revision = Annotated[
    str, typer.Option(metavar="NAME", help="Branch, tag or commit; default: the newest.", rich_help_panel=HUB)
]


def import_(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE... FOLDER",
            help="Parquet, JSON or JSON-lines files, a folder, or a dataset OWNER/NAME; then the folder to fill.",
        ),
    ],
    size: Annotated[
        str,
        typer.Option(
            metavar="SIDE|WIDTHxHEIGHT",
            help="1024: each image in the shape nearest its own, of about 1024 x 1024 pixels. "
            "1024x768: all images of this size.",
            rich_help_panel=WRITING,
        ),
    ],
    image_format: Annotated[
        Literal["png", "jpeg", "webp"],
        typer.Option(help="Of images that are resized; others keep their bytes.", rich_help_panel=WRITING),
    ] = "png",
    redo: Annotated[
        bool,
        typer.Option("--redo", help="Replace what other data or options left in FOLDER.", rich_help_panel=WRITING),
    ] = False,
    images: Images = "",
    rename: Rename = None,
    min_confidence: MinConfidence = 0.0,
    split: Split = "train",
    subset: Subset = "",
    revision: Revision = "",
) -> None:
    """Take in your own images and pairs, for `imported` in a run file.

    accord import pairs.parquet data/mine --size 1024

    Images are turned upright, made RGB, resized and cropped, never stretched.

    What is damaged, missing or without a label is left out and counted.

    A killed import goes on when you run the same command again.
    """
    if len(paths) < 2:
        raise ConfigError(
            "needs at least one source and the folder to fill: accord import pairs.parquet data/mine --size 1024"
        )
    width, height, buckets = parse_size(size)
    options = source_options(images, split, subset, revision, rename)
    from accord.own.importing import ImportSettings, import_pool

    settings = ImportSettings(width, height, buckets, image_format, min_confidence)
    folder = Path(paths[-1])
    with progress_bars() as bar_of:
        outcome = import_pool(paths[:-1], folder, settings, options, redo, bar_of("import"))
    console.print(_imported(outcome.manifest, outcome.was_reused))
    console.print(
        f"\nin the run file:  \\[generate] imported = {escape(repr(str(folder)))}, width = {width}, height = {height}\n"
        '                  \\[method] pairs = "labelled"   (or any rule over scores)',
        soft_wrap=True,
    )


def validate_(
    paths: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="What `accord import` reads: files, a folder, OWNER/NAME.")
    ],
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the findings to this file, too.")] = None,
    images: Images = "",
    rename: Rename = None,
    min_confidence: MinConfidence = 0.0,
    split: Split = "train",
    subset: Subset = "",
    revision: Revision = "",
) -> None:
    """Check your own images and pairs, and say how many pairs remain. Writes nothing.

    Exit status 0: nothing is wrong. Ties, repeated and contradictory labels are told and are no faults.

    Exit status 3: pairs remain, but something is damaged, missing or without a valid label.

    Exit status 1: no pair remains, or nothing can be read.
    """
    from accord.files import write_json
    from accord.own.validate import validate

    options = source_options(images, split, subset, revision, rename, allow_damage=True)
    with progress_bars() as bar_of:
        findings = validate(paths, options, min_confidence, bar_of("validate"))
    if json is not None:
        write_json(json, findings.as_json())
    console.print(findings_table(findings))
    left = f"{counted(findings.usable, 'pairs')} {'remains' if findings.usable == 1 else 'remain'}"
    it = "it" if findings.usable == 1 else "them"
    colour = {"clean": "green", "faults": "yellow", "unusable": "red"}[findings.status]
    console.print(f"[{colour}]{left}[/] ({counted(findings.pairs['ties'], 'ties')} beside {it})")
    if findings.status != "clean":
        raise typer.Exit(FAULTS if findings.status == "faults" else UNUSABLE)


def parse_size(text: str) -> tuple[int, int, bool]:
    """Return width and height of `1024x768`, or for `1024` those of the square that buckets are as large as.

    The last value says whether there are buckets. Raises ConfigError for what is neither.
    """
    found = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text.strip())
    if not found:
        raise ConfigError(f"--size needs SIDE or WIDTHxHEIGHT in pixels, such as 1024 or 1024x768, not '{text}'")
    width, height = int(found[1]), int(found[2] or found[1])
    if max(width, height) > LARGEST_SIDE:
        raise ConfigError(f"--size may be {LARGEST_SIDE} pixels a side at most, not '{text}'")
    return width, height, found[2] is None


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
    sizes = findings.sizes.most_common()
    for size, count in sizes[:SIZES_TOLD]:
        add(f"  of {size}", count)
    if others := sizes[SIZES_TOLD:]:
        add(f"  of {len(others)} other sizes", sum(count for _, count in others))
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
            ("images_that_lost_a_third", "cropped by more than a third"),
            ("images_enlarged", "enlarged"),
        )
        if c.get(key)
    )
    head = f"[green]✓[/] import: {'finished before, reused; ' if was_reused else ''}"
    lines = [
        f"{head}{counted(c['rows'], 'rows')}, {counted(c['prompts'], 'prompts')}, "
        f"{counted(c['images'], 'images')} ({made or 'all resized'})",
        f"  {counted(c['pairs'], 'pairs')}: {c['decided']} decided, {counted(c['ties'], 'ties')}, "
        f"{c['contradictory']} with labels both ways",
    ]
    if manifest.settings["buckets"]:
        sizes = sorted(c["sizes"].items(), key=lambda item: (-item[1], item[0]))
        lines.append(f"  sizes: {', '.join(f'{count} of {size}' for size, count in sizes)}")
    if c.get("rows_of_several_shapes"):
        lines.append(
            f"  {counted(c['rows_of_several_shapes'], 'rows')} of images of several shapes, each row cropped to one"
        )
    lines += [f"  left out, {escape(reason)}: {count}" for reason, count in sorted(c["left_out"].items())]
    return "\n".join(lines)
