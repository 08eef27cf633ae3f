"""The shape of a spec: which tables and keys there are, and what each takes. Names of strategies are looked up later.

A description is what a message about the key adds, so it says what the value means or what to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from safecompress.config.phrases import describe, show
from safecompress.config.reading import SpecReader
from safecompress.config.text import Table
from safecompress.errors import suggest

LARGEST = 2**63 - 1  # a TOML integer has 64 bits
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Density = Annotated[float, Field(gt=0, le=1)]
StrategyEntry = str | Table


class StrictTable(BaseModel):
    """A table that takes the keys it names and no others, and does not turn text into numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$"
_NAMED = "It names the run's folder: up to 100 letters, digits, '.', '_' and '-', no '.' or '-' first."


class SpecShape(StrictTable):
    """The whole file."""

    name: str = Field(pattern=_NAME, description=_NAMED)
    seed: Count = Field(0, description="It decides the split, first weights, shadows and attackers.")
    data: Table = Field(description='Say which data to use: source = "digits".')
    model: Table | None = Field(None, description='Say which network to train: name = "mlp".')
    recipe: Table = Field({}, description="It says how everything is trained.")
    dense_recipe: Table = Field({}, description="It says what is different for the dense model.")
    compress: Table = Field({}, description="It says how small the model becomes, and which weights may go.")
    search: Table = Field({}, description="It says how candidates are made, tested and chosen.")
    deploy: Table = Field({}, description="It says what ships.")
    safety: Table = Field(description='Say which attacks to simulate: attacks = ["neural"].')
    require: list[Table] = Field(
        min_length=1,
        description='Say what must hold, each in a table [[require]] of its own: metric = "neural.auc", at_most = 0.6.',
    )
    shortened: list[str] = Field([], description="It is written into the run folder's spec: what --scale changed.")


class LimitsShape(SpecShape):
    """The whole file, when only its limits are read."""

    name: str = Field("audit", pattern=_NAME, description=_NAMED)
    data: Table = {}


class DataShape(StrictTable):
    """``[data]``; the parts are those of ``SplitSizes``."""

    source: StrategyEntry = Field(
        description='It is a name, such as "digits", or a table { name = "csv", path = ... }.'
    )
    normalise: Literal["none", "standard"] = Field(
        "none", description="It says how features are scaled: standard by mean and deviation of the train rows."
    )
    train: Count | None = Field(None, description="Rows that the model learns on: the members.")
    member_fit: Count | None = Field(None, description="Rows of train on which attackers learn.")
    member_select: Count | None = Field(None, description="Rows of train by which candidates are chosen.")
    member_verdict: Count | None = Field(None, description="Rows of train by which the file that ships is judged.")
    validation: Count | None = Field(None, description="Rows that measure accuracy in the search.")
    test: Count | None = Field(None, description="Rows that measure accuracy for the verdict.")
    nonmember_fit: Count | None = Field(None, description="Rows outside train on which attackers learn.")
    nonmember_select: Count | None = Field(None, description="Rows outside train by which candidates are chosen.")
    nonmember_verdict: Count | None = Field(
        None, description="Rows outside train by which the file that ships is judged."
    )
    population: Count | None = Field(None, description="More rows of the same source, for shadow models and controls.")


class CompressShape(StrictTable):
    """``[compress]``."""

    density: Density = Field(0.1, description="It is the share of weights kept: 0.05 keeps one in twenty.")
    allocation: StrategyEntry = Field("erk", description="It says how much of each layer is kept at first.")
    shape: StrategyEntry = Field("weight", description="It says which weights live and die together.")
    start: Literal["scratch", "dense", "pretrained"] | None = Field(
        None,
        description="It is where the first weights come from: the seed, the dense model, or its own beginning. "
        "Without it trained weights are kept where there are any.",
    )
    include: list[str] = Field(["*"], min_length=1, description='The pattern "*" takes every layer.')
    exclude: list[str] = Field([], description='Patterns of parameters that stay dense: "classifier.*".')


class DeployShape(StrictTable):
    """``[deploy]``: how the trained model becomes the file that ships."""

    shrink: bool = Field(False, description="It says whether dead units are removed, which changes no answer.")
    precision: Literal["float32", "float16", "int8"] = Field("float32", description="It is how the file keeps weights.")
    format: Literal["safetensors", "onnx"] = Field("safetensors", description="It is the kind of file that ships.")


class FoldsShape(StrictTable):
    """``folds`` of ``[search]``: the sub-models that teach the arms."""

    number: int = Field(5, ge=2, le=100, description="It is how many sub-models are trained.")
    held_out: int = Field(2, ge=1, le=99, description="It is how many of them miss each row.")
    rewiring: str = Field("set+random", description="It is their drop and grow rule.")


class EvidenceShape(StrictTable):
    """``evidence`` of ``[search]``: what the finalists among arms are judged by."""

    repeats: Count = Field(
        8, description="It is how often each finalist is trained again to be attacked by LiRA; 0: not."
    )


Method = Literal["folds", "rewiring"]


class SearchShape(StrictTable):
    """``[search]``; without ``attacks`` those of ``[safety]`` test arms and candidates."""

    method: Method = Field(
        "folds", description="It is what is compared: arms taught by sub-models, or rewirings in every round."
    )
    folds: Table = Field({}, description="It says how the sub-models are trained: { number = 5, held_out = 2 }.")
    shares: list[float] = Field(
        [1.0, 0.8],
        min_length=1,
        description="Each is the share of a target that sub-models give; labels give the rest.",
    )
    lengths: list[float] = Field(
        [2.0], min_length=1, description="Each is how long an arm trains, in lengths of the recipe."
    )
    densities: list[Density] | None = Field(
        None, min_length=1, description="Each is the density of an arm, in the place of the one of [compress]."
    )
    goal: Literal["spec", "front"] = Field(
        "spec", description="It is what to name: the best arm that keeps the spec, or also every one that none beats."
    )
    evidence: Table = Field({}, description="It says how finalists are judged: { repeats = 8 }.")
    rounds: Count = Field(10, description="It is how often the pattern moves; 0 keeps the first.")
    branches: list[str] | None = Field(
        None,
        min_length=1,
        description='Each makes an arm, or a candidate a round: "magnitude+random" drops and grows, "keep" stays.',
    )
    selector: StrategyEntry = Field("tm_score", description="It says how one candidate is chosen.")
    attacks: list[StrategyEntry] | None = Field(
        None, min_length=1, description="They test the candidates; without it those of [safety] do."
    )
    finalists: int = Field(
        2, ge=1, le=LARGEST, description="It is how many candidates of a round meet the attacks that take seconds."
    )
    rank: bool = Field(
        True, description="It says whether the last candidates meet the verdict's attacks, to test the cheap ones."
    )
    refit: Literal["parent", "candidate"] = Field(
        "parent", description="It says for which model attackers are fitted: a round's parent, or every candidate."
    )
    schedule: StrategyEntry = Field("cosine", description="It is the share of weights that move, over the rounds.")
    stop: float = Field(0.75, gt=0, le=1, description="It is the share of training after which the pattern is final.")
    recovery: float = Field(0.25, ge=0, lt=1, description="It is the share of a round that tunes each candidate.")


class SafetyShape(StrictTable):
    """``[safety]``."""

    attacks: list[StrategyEntry] | None = Field(
        None,
        min_length=1,
        description='They judge what ships; each is a name or a table: { name = "lira", num_shadows = 64 }.',
    )
    alpha: float = Field(
        0.05,
        gt=0,
        le=0.1,
        description="It is the error rate of all verdicts on the same rows; the first fixes it.",
    )
    access: Literal["labels", "scores", "weights"] = Field(
        "weights", description="It is what an attacker is given; a file on a device gives weights."
    )
    shadows: Literal["final pattern", "full pipeline"] = Field(
        "final pattern", description="It says how shadow models are trained."
    )
    shadow_budget: int | None = Field(
        None,
        ge=4,
        le=LARGEST,
        description="It is up to how many shadow models an attack by them is given when fewer do not decide.",
    )
    canaries: Count = Field(
        0,
        description="Rows with a wrong label that are put into training, to see whether attacks find them; 20 or more.",
    )
    rough: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="It marks a rough verdict, which is never PASS, and is the command that gives the full one.",
    )


class RequireShape(StrictTable):
    """One ``[[require]]``."""

    metric: str = Field(description='It names what is measured: "accuracy", "neural.auc".')
    at_most: float | None = Field(None, description="It is the bound on a figure that is better when lower.")
    at_least: float | None = Field(None, description="It is the bound on a figure that is better when higher.")
    within: float | None = Field(None, ge=0, description="It is how much worse than the dense model is allowed.")
    of: Literal["dense"] | None = Field(None, description="It goes with within, and says what is compared with.")
    proposed: float | None = Field(None, description="It is what init wrote, so that reports say who chose the bound.")


S = TypeVar("S", bound=StrictTable)


def read_table(table_type: type[S], table: Mapping[str, Any], where: str, reading: SpecReader) -> S | None:
    """``table`` as a ``table_type``, with the defaults in place of what is faulty; None when a required key is.

    Every fault is noted in words of its own: no message of the validator reaches the user.
    """
    try:
        return table_type.model_validate(table)
    except ValidationError as error:
        places = {detail["loc"][:2]: detail for detail in error.errors(include_url=False)}
    faulty = {str(loc[0]): None for loc in places}  # ordered, each key once
    for loc, detail in {_item(loc): detail for loc, detail in places.items()}.items():
        reading.note(*_fault(table_type, table, where, loc, detail))
    if any(key in table_type.model_fields and table_type.model_fields[key].is_required() for key in faulty):
        return None
    return table_type.model_validate({key: value for key, value in table.items() if key not in faulty})


def place(where: str, key: str) -> str:
    """How messages name ``key``: ``[search] rounds``, or at the top ``name``, ``[search]``, ``[[require]]``."""
    shown = key if key.isidentifier() and key.isascii() else show(key)
    if where:
        return f"{where} {shown}"
    kind = describe(SpecShape.model_fields[key].annotation) if key in SpecShape.model_fields else ""
    return {"a table": f"[{shown}]", "a list of tables": f"[[{shown}]]"}.get(kind, shown)


def _item(loc: tuple[int | str, ...]) -> tuple[str, int | None]:
    """The key and, in a list, the index: where in the file a fault lies, whichever member of a union complained."""
    index = loc[1] if len(loc) > 1 else None
    return str(loc[0]), index if isinstance(index, int) else None


def _fault(
    table_type: type[StrictTable],
    table: Mapping[str, Any],
    where: str,
    position: tuple[str, int | None],
    detail: ErrorDetails,
) -> tuple[str, str]:
    """The place and the sentence of one fault."""
    key, index = position
    spot = place(where, key) if index is None else f"{place(where, key)} {index + 1}"
    if key not in table_type.model_fields:
        is_table = isinstance(table[key], dict) and not where
        kind, spot = ("table", f"[{spot}]") if is_table else ("key", spot)
        return spot, f"unknown {kind}. {suggest(key, table_type.model_fields)}"
    field = table_type.model_fields[key]
    hint = f" {field.description}" if field.description else ""
    if detail["type"] == "missing":
        return spot, f"is missing.{hint}"
    if index is not None:
        return spot, f"{show(table[key][index])} does not belong in {describe(field.annotation)}.{hint}"
    return spot, f"{_refusal(field, detail)}, got {show(table[key])}.{hint}"


def _limit(limit: float) -> str:
    """A limit as one writes it: 0 and not 0.0, and all digits of a large integer."""
    return str(int(limit)) if limit == int(limit) else str(limit)


def _refusal(field: FieldInfo, detail: ErrorDetails) -> str:
    """What the key takes: its range when the value is out of it, else its type."""
    limits = detail.get("ctx", {})
    match detail["type"]:
        case "greater_than":
            return f"must be above {_limit(limits['gt'])}"
        case "greater_than_equal":
            return f"must be at least {_limit(limits['ge'])}"
        case "less_than":
            return f"must be below {_limit(limits['lt'])}"
        case "less_than_equal":
            return f"must be at most {_limit(limits['le'])}"
        case "too_short":
            return f"must list at least {limits['min_length']}"
        case "finite_number":
            return "must be finite"
        case "string_pattern_mismatch":
            return "cannot be used"
    return f"takes {describe(field.annotation)}"
