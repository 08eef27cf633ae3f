"""The search: candidates proposed by rewiring, tested by attacks, chosen by evidence."""

from safecompress.compression.search.branch import DEFAULT_BRANCHES, Branch, parse_branches
from safecompress.compression.search.candidate import Candidate, Evaluation
from safecompress.compression.search.executor import Executor, ProcessExecutor, SerialExecutor, use_one_thread
from safecompress.compression.search.loop import RoundResult, Search
from safecompress.compression.search.plan import Plan
from safecompress.compression.search.propose import Proposal, propose
from safecompress.compression.search.select import (
    SELECTORS,
    ParetoKnee,
    RandomChoice,
    SafestAbove,
    Selection,
    Selector,
    TmScore,
    choose_among,
    compare_to_keep,
    finalists,
)
from safecompress.compression.search.store import MemoryStore, RunStore
from safecompress.compression.search.trial import Trial, TrialRows, candidate_name, keeps_momentum
from safecompress.compression.search.watched import WatchedExecutor, status_of, watched_map
from safecompress.progress import KEEP

__all__ = [
    "DEFAULT_BRANCHES",
    "KEEP",
    "SELECTORS",
    "Branch",
    "Candidate",
    "Evaluation",
    "Executor",
    "MemoryStore",
    "ParetoKnee",
    "Plan",
    "ProcessExecutor",
    "Proposal",
    "RandomChoice",
    "RoundResult",
    "RunStore",
    "SafestAbove",
    "Search",
    "Selection",
    "Selector",
    "SerialExecutor",
    "TmScore",
    "Trial",
    "TrialRows",
    "WatchedExecutor",
    "candidate_name",
    "choose_among",
    "compare_to_keep",
    "finalists",
    "keeps_momentum",
    "parse_branches",
    "propose",
    "status_of",
    "use_one_thread",
    "watched_map",
]
