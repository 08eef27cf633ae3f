"""Methods by name."""

from __future__ import annotations

from safecompress.registry import Registry
from safecompress.studies.methods.adversarial import DistilledAdversarially, PrunedAdversarially
from safecompress.studies.methods.balancing import Balanced
from safecompress.studies.methods.defended import HighEntropy, Relaxed
from safecompress.studies.methods.distilled import Distilled, Dmp, PrunedDmp, SmallDmp
from safecompress.studies.methods.dp import DistilledPrivately, PrunedPrivately
from safecompress.studies.methods.method import Method
from safecompress.studies.methods.plain import Dense, EarlyStopped
from safecompress.studies.methods.pruning import Gradual, MiaPruning, OneShot
from safecompress.studies.methods.reuse import LessReuse
from safecompress.studies.methods.selena import SplitDistilled
from safecompress.studies.methods.sparse import RigL, Searched, Set, Static

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
