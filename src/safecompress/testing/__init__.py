"""For authors of plug-ins: does a rule keep its contract? Nothing in the product imports this room."""

from safecompress.testing.rules import check_drop_rule, check_grow_rule

__all__ = ["check_drop_rule", "check_grow_rule"]
