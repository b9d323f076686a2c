"""Loading without transformers' bar over tensors, which would tear the bars of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_loading_bar() -> Iterator[None]:
    """Hide the bar over the tensors of a checkpoint. Bars of downloads stay: those can take an hour."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    had_bar, has_downloads = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    logging.disable_progress_bar()  # hides those of downloads, too
    if has_downloads:
        enable_progress_bars()
    try:
        yield
    finally:
        if had_bar:
            logging.enable_progress_bar()
        if not has_downloads:
            disable_progress_bars()
