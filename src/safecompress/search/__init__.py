"""The search: candidates proposed by rewiring, tested by attacks, chosen by evidence."""

from safecompress.search.branch import DEFAULT_BRANCHES, KEEP, Branch, parse_branches
from safecompress.search.candidate import Candidate, Evaluation
from safecompress.search.executor import Executor, ProcessExecutor, SerialExecutor, use_one_thread
from safecompress.search.loop import RoundResult, Search
from safecompress.search.plan import Plan
from safecompress.search.propose import Proposal, propose
from safecompress.search.select import (
    SELECTORS,
    Choice,
    ParetoKnee,
    RandomChoice,
    SafestAbove,
    Selector,
    TmScore,
    choose_among,
    compare_to_keep,
    finalists,
)
from safecompress.search.store import RunStore
from safecompress.search.trial import Trial, TrialRows, candidate_name, keeps_momentum
from safecompress.search.watched import WatchedExecutor, watched_map

__all__ = [
    "DEFAULT_BRANCHES",
    "KEEP",
    "SELECTORS",
    "Branch",
    "Candidate",
    "Choice",
    "Evaluation",
    "Executor",
    "ParetoKnee",
    "Plan",
    "ProcessExecutor",
    "Proposal",
    "RandomChoice",
    "RoundResult",
    "RunStore",
    "SafestAbove",
    "Search",
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
    "use_one_thread",
    "watched_map",
]
