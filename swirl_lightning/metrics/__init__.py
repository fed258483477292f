"""Metrics of the two models on held-out transitions, right across processes."""

from swirl_lightning.metrics.base import PredictionMetric
from swirl_lightning.metrics.bertscore import BertScore
from swirl_lightning.metrics.likelihood import MeanLogProb
from swirl_lightning.metrics.overlap import DeltaF1, ExactMatch, TokenF1
from swirl_lightning.metrics.rouge import RougeL
from swirl_lightning.metrics.unique import UniqueShare

__all__ = ["BertScore", "DeltaF1", "ExactMatch", "MeanLogProb", "PredictionMetric", "RougeL", "TokenF1", "UniqueShare"]
