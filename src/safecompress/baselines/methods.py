"""Methods by name."""

from __future__ import annotations

from safecompress.baselines.adversarial import DistilledAdversarially, PrunedAdversarially
from safecompress.baselines.balancing import Balanced
from safecompress.baselines.defended import HighEntropy, Relaxed
from safecompress.baselines.distilled import Distilled, Dmp, PrunedDmp, SmallDmp
from safecompress.baselines.method import Method
from safecompress.baselines.plain import Dense, EarlyStopped
from safecompress.baselines.private import DistilledPrivately, PrunedPrivately
from safecompress.baselines.pruning import Gradual, MiaPruning, OneShot
from safecompress.baselines.reuse import LessReuse
from safecompress.baselines.selena import SplitDistilled
from safecompress.baselines.sparse import RigL, Searched, Set, Static
from safecompress.registry import Registry

METHODS: Registry[Method] = Registry(
    "method",
    "safecompress.methods",
    {
        "dense": Dense,
        "dense_early_stop": EarlyStopped,
        "dense_relax": Relaxed,
        "dense_hamp": HighEntropy,
        "dmp": Dmp,
        "selena": SplitDistilled,
        "static": Static,
        "set": Set,
        "rigl": RigL,
        "safecompress": Searched,
        "one_shot": OneShot,
        "gmp": Gradual,
        "mia_pruning": MiaPruning,
        "ppb": Balanced,
        "wemem": LessReuse,
        "pr_dp": PrunedPrivately,
        "pr_advreg": PrunedAdversarially,
        "pr_dmp": PrunedDmp,
        "kd": Distilled,
        "kd_dp": DistilledPrivately,
        "kd_advreg": DistilledAdversarially,
        "kd_dmp": SmallDmp,
    },
)
