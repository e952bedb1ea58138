"""ValidateStateMachineDefinition."""

import json

from harness import PASS, case, chain, same, true


def verdict(context, definition, **more):
    text = definition if isinstance(definition, str) else json.dumps(definition)
    found = context.client.validate_state_machine_definition(definition=text, **more)
    return found["result"], found["diagnostics"], found["truncated"]


@case()
def good_definitions(context):
    for kind in ("STANDARD", "EXPRESS"):
        same(verdict(context, PASS, type=kind), ("OK", [], False))


@case()
def bad_definitions(context):
    missing = {"severity": "ERROR", "code": "SCHEMA_VALIDATION_FAILED", "message": "These fields are required: [StartAt]", "location": "/"}
    same(verdict(context, {"States": PASS["States"]}), ("FAIL", [missing], False))
    target = {"severity": "ERROR", "code": "MISSING_TRANSITION_TARGET", "message": "Missing 'Next' target: Nowhere", "location": "/States/A/Next"}
    broken = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "Nowhere"}}}
    result, diagnostics, _ = verdict(context, broken)
    same(result, "FAIL")
    true(target in diagnostics, f"found {diagnostics}")
    result, diagnostics, _ = verdict(context, "no JSON")
    same((result, diagnostics[0]["code"]), ("FAIL", "INVALID_JSON_DESCRIPTION"))
    true("location" not in diagnostics[0], "a text that is no JSON has no places")


@case()
def warnings_are_asked_for(context):
    doubtful = chain(("A", {"Type": "Pass", "Parameters": {"n": "$.n"}}))
    same(verdict(context, doubtful), ("OK", [], False))
    result, diagnostics, _ = verdict(context, doubtful, severity="WARNING")
    same((result, [(item["severity"], item["code"]) for item in diagnostics]), ("OK", [("WARNING", "NO_DOLLAR")]))


@case()
def most_results(context):
    broken = chain(*((f"S{number}", {"Type": "Pass", "Nonsense": 1}) for number in range(5)))
    result, diagnostics, truncated = verdict(context, broken, maxResults=2)
    same((result, len(diagnostics), truncated), ("FAIL", 2, True))
    result, diagnostics, truncated = verdict(context, broken)
    same((result, len(diagnostics), truncated), ("FAIL", 5, False))
