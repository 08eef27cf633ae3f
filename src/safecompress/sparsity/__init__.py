"""Dynamic sparse training: which granularity, how many weights per layer, when they move, which, and exactly k."""

from safecompress.sparsity.allocate import (
    ALLOCATIONS,
    AllocateErk,
    AllocateGlobalMagnitude,
    AllocateUniform,
    Allocation,
)
from safecompress.sparsity.drop import (
    DROP_RULES,
    DropLeak,
    DropMagnitude,
    DropRandomSmall,
    DropRule,
    DropSet,
    DropTaylor,
    DropThreshold,
)
from safecompress.sparsity.granularity import (
    SHAPES,
    UNGROUPED,
    Blocks,
    EachWeight,
    Granularity,
    Grouping,
    Units,
    check_granularity,
)
from safecompress.sparsity.grow import (
    GROW_RULES,
    GrowGradient,
    GrowMomentum,
    GrowRandom,
    GrowRandomUnfired,
    GrowRule,
    GrowSmallestGradient,
)
from safecompress.sparsity.initialise import Start, initial_pattern, rescale_
from safecompress.sparsity.layers import LayerView, find_maskable, view_layers
from safecompress.sparsity.masker import Masker
from safecompress.sparsity.pattern import Fill, Move, Rewiring, SparsityPattern
from safecompress.sparsity.rewire import choose_dropped, parse_rules, rewire
from safecompress.sparsity.schedule import GENTLE, SCHEDULES, ConstantSchedule, CosineSchedule, Schedule
from safecompress.sparsity.trained import are_trained
from safecompress.sparsity.training import SparseTraining

__all__ = [
    "ALLOCATIONS",
    "DROP_RULES",
    "GENTLE",
    "GROW_RULES",
    "SCHEDULES",
    "SHAPES",
    "UNGROUPED",
    "AllocateErk",
    "AllocateGlobalMagnitude",
    "AllocateUniform",
    "Allocation",
    "Blocks",
    "ConstantSchedule",
    "CosineSchedule",
    "DropLeak",
    "DropMagnitude",
    "DropRandomSmall",
    "DropRule",
    "DropSet",
    "DropTaylor",
    "DropThreshold",
    "EachWeight",
    "Fill",
    "Granularity",
    "Grouping",
    "GrowGradient",
    "GrowMomentum",
    "GrowRandom",
    "GrowRandomUnfired",
    "GrowRule",
    "GrowSmallestGradient",
    "LayerView",
    "Masker",
    "Move",
    "Rewiring",
    "Schedule",
    "SparseTraining",
    "SparsityPattern",
    "Start",
    "Units",
    "are_trained",
    "check_granularity",
    "choose_dropped",
    "find_maskable",
    "initial_pattern",
    "parse_rules",
    "rescale_",
    "rewire",
    "view_layers",
]
