"""What a run file may say: one section per stage, each field with its type, default and meaning.

A run file is complete in itself: no includes, no inheritance, no import strings.
"""

from accord.config.drawing import GenerateConfig, ModelConfig, PromptsConfig
from accord.config.method import METHOD_KINDS, MethodConfig
from accord.config.run import Config, EngineConfig, ReportConfig
from accord.config.scoring import EvaluateConfig, ScoreConfig
from accord.config.training import AdapterConfig, LogConfig, TrainConfig
from accord.section import Choice, Positive, Section

__all__ = [
    "METHOD_KINDS",
    "AdapterConfig",
    "Choice",
    "Config",
    "EngineConfig",
    "EvaluateConfig",
    "GenerateConfig",
    "LogConfig",
    "MethodConfig",
    "ModelConfig",
    "Positive",
    "PromptsConfig",
    "ReportConfig",
    "ScoreConfig",
    "Section",
    "TrainConfig",
]
