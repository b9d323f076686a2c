"""The prompts that a run file names: those of the embedded world, or a file."""

from __future__ import annotations

from pathlib import Path

from accord.errors import ConfigError
from accord.prompts import PromptList, make_prompts, read_prompt_file


def load_prompts(source: str, limit: int | None) -> PromptList:
    """Return the first `limit` prompts of `world:train`, `world:evaluate`, `world:validate` or a file; all if None.

    Raises ConfigError if there is no such source.
    """
    found = _world(source) if source.startswith("world:") else read_prompt_file(Path(source))
    if limit is None or limit >= len(found.prompts):
        return found
    return PromptList(found.prompts[:limit], {**found.dropped, "over the limit": len(found.prompts) - limit})


def _world(source: str) -> PromptList:
    from accord.world import prompts as world

    split = source.removeprefix("world:")
    if split not in world.SPLITS:
        raise ConfigError(f"no prompts '{source}'; the embedded world has world:{', world:'.join(world.SPLITS)}")
    rows = [{"text": text, "skill": skill} for text, skill in world.load_prompts(split)]
    return make_prompts(rows, source, source)
