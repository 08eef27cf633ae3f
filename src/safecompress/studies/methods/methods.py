"""Methods by name."""

from __future__ import annotations

from safecompress.registry import Registry
from safecompress.studies.methods.adversarial import DistilledAdversarially, PrunedAdversarially
from safecompress.studies.methods.balancing import PosteriorBalanced
from safecompress.studies.methods.defended import DenseHamp, DenseRelaxLoss
from safecompress.studies.methods.distilled import Distilled, Dmp, PrunedDmp, SmallDmp
from safecompress.studies.methods.dp import DistilledPrivately, PrunedPrivately
from safecompress.studies.methods.method import Method
from safecompress.studies.methods.plain import Dense, EarlyStopped
from safecompress.studies.methods.pruning import Gradual, MiaPruning, OneShot
from safecompress.studies.methods.reuse import WeMem
from safecompress.studies.methods.selena import SplitDistilled
from safecompress.studies.methods.sparse import (
    FoldTaught,
    LeakDrop,
    RandomSmallDrop,
    RigL,
    SafeCompress,
    SparseEvolutionaryTraining,
    Static,
)

METHODS: Registry[Method] = Registry(
    "method",
    "safecompress.methods",
    {
        "dense": Dense,
        "dense_early_stop": EarlyStopped,
        "dense_relax": DenseRelaxLoss,
        "dense_hamp": DenseHamp,
        "dmp": Dmp,
        "selena": SplitDistilled,
        "static": Static,
        "set": SparseEvolutionaryTraining,
        "rigl": RigL,
        "leak_drop": LeakDrop,
        "random_small_drop": RandomSmallDrop,
        "safecompress": SafeCompress,
        "folds": FoldTaught,
        "one_shot": OneShot,
        "gmp": Gradual,
        "mia_pruning": MiaPruning,
        "ppb": PosteriorBalanced,
        "wemem": WeMem,
        "pr_dp": PrunedPrivately,
        "pr_advreg": PrunedAdversarially,
        "pr_dmp": PrunedDmp,
        "kd": Distilled,
        "kd_dp": DistilledPrivately,
        "kd_advreg": DistilledAdversarially,
        "kd_dmp": SmallDmp,
    },
)
