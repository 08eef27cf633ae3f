"""The part of SARIF 2.1.0 that the gate writes, as a JSON schema that admits nothing else.

Written for these tests from the standard's text (OASIS, SARIF 2.1.0, sections 3.13 to 3.58): names and types of
properties, what is required, and the values of enumerations.
"""

from __future__ import annotations


def exactly(required, **properties):
    return {
        "type": "object", "properties": properties, "required": list(required), "additionalProperties": False,
    }  # fmt: skip


TEXT = {"type": "string", "minLength": 1}
MESSAGE = exactly(["text"], text=TEXT)
BAG = {"type": "object"}
LEVEL = {"enum": ["none", "note", "warning", "error"]}
RULE = exactly(
    ["id"],
    id=TEXT,
    shortDescription=MESSAGE,
    fullDescription=MESSAGE,
    defaultConfiguration=exactly([], level=LEVEL),
    properties=BAG,
)
LOCATION = exactly(
    ["physicalLocation"],
    physicalLocation=exactly(
        ["artifactLocation", "region"],
        artifactLocation=exactly(["uri"], uri={"type": "string", "format": "uri-reference", "minLength": 1}),
        region=exactly(["startLine"], startLine={"type": "integer", "minimum": 1}),
    ),
)
RESULT = exactly(
    ["message"],
    ruleId=TEXT,
    ruleIndex={"type": "integer", "minimum": -1},
    level=LEVEL,
    message=MESSAGE,
    locations={"type": "array", "items": LOCATION},
    properties=BAG,
)
INVOCATION = exactly(["executionSuccessful"], executionSuccessful={"type": "boolean"}, exitCode={"type": "integer"})
DRIVER = exactly(
    ["name"], name=TEXT, version=TEXT, informationUri=TEXT, rules={"type": "array", "items": RULE, "uniqueItems": True}
)
RUN = exactly(
    ["tool", "results"],
    tool=exactly(["driver"], driver=DRIVER),
    invocations={"type": "array", "items": INVOCATION, "uniqueItems": False},
    results={"type": "array", "items": RESULT},
    properties=BAG,
)
SCHEMA = exactly(
    ["version", "runs"],
    version={"const": "2.1.0"},
    runs={"type": "array", "items": RUN, "minItems": 1},
    **{"$schema": {"type": "string", "format": "uri"}},
)
