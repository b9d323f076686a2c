"""The papers behind the choices of a method: found in the documentation of each plug-in, told by title."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from accord import registry

SHARED_FILES = ("weightings", "timestep_samplings", "references")
"""Kinds of which several are in one file, whose documentation is not about each of them."""

PAPERS = {
    "2106.09685": "Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022",
    "2203.05482": "Wortsman et al., Model soups, ICML 2022",
    "2303.00848": "Kingma and Gao, Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation, "
    "NeurIPS 2023",
    "2303.09556": "Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, ICCV 2023",
    "2305.10425": "Zhao et al., SLiC-HF: Sequence Likelihood Calibration with Human Feedback, 2023",
    "2310.12036": "Azar et al., A General Theoretical Paradigm to Understand Learning from Human Preferences, "
    "AISTATS 2024",
    "2311.12908": "Wallace et al., Diffusion Model Alignment Using Direct Preference Optimization, CVPR 2024",
    "2402.09353": "Liu et al., DoRA: Weight-Decomposed Low-Rank Adaptation, ICML 2024",
    "2403.03206": "Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, ICML 2024",
    "2404.04465": "Li et al., Aligning Diffusion Models by Optimizing Human Utility, NeurIPS 2024",
    "2406.06424": "Hong et al., Margin-aware Preference Optimization for Aligning Diffusion Models without Reference, "
    "AAAI 2026",
    "2502.02588": "Lee et al., Calibrated Multi-Preference Optimization for Aligning Diffusion Models, CVPR 2025",
    "2503.12575": "Tamboli et al., BalancedDPO: Adaptive Multi-Metric Alignment, 2025",
    "2503.18454": "Lu et al., InPO: Inversion Preference Optimization with Reparametrized DDIM for Efficient Diffusion "
    "Model Alignment, CVPR 2025",
    "2506.02698": "Lu et al., Smoothed Preference Optimization via ReNoise Inversion for Aligning Diffusion Models "
    "with Varied Human Preferences, ICML 2025",
    "2605.09433": "Lu et al., Offline Preference Optimization for Rectified Flow with Noise-Tracked Pairs, ICML 2026",
}
"""arXiv number -> authors, title, venue."""

NUMBER = re.compile(r"arXiv\W{0,2}(\d{4}\.\d{4,5})")


def cited(choices: Mapping[str, str], more: Iterable[str] = ()) -> list[str]:
    """Return the arXiv numbers named in the documentation of these plug-ins (kind -> name) and of `more`, sorted."""
    found = set(more)
    for kind, name in choices.items():
        found.update(NUMBER.findall(documentation(kind, name)))
    return sorted(found)


def documentation(kind: str, name: str) -> str:
    """Return what a plug-in's own documentation says, with that of its file where the file is about it alone."""
    plugin: Any = registry.load(kind, name)
    module = "" if kind in SHARED_FILES else inspect.getdoc(inspect.getmodule(plugin)) or ""
    return f"{module}\n{inspect.getdoc(plugin) or ''}"


def reference(number: str) -> str:
    """Return a paper as one line of Markdown with its link."""
    told = PAPERS.get(number)
    link = f"[arXiv {number}](https://arxiv.org/abs/{number})"
    return f"{told}, {link}" if told else link
