"""Requests from the API's model, and what goes wrong in them. Hides where the model comes from."""

import json

import botocore.loaders

MODEL = botocore.loaders.Loader().load_service_model("stepfunctions", "service-2")
OPERATIONS = sorted(MODEL["operations"])
SHAPES = MODEL["shapes"]

STATES = [
    {"Type": "Pass", "Result": {"a": [1, 2.5, None, True, "x"]}, "ResultPath": "$.b", "End": True},
    {"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% $states.input.a + 1 %}", "Assign": {"v": "{% $now() %}"}, "End": True},
    {"Type": "Choice", "Choices": [{"Variable": "$.a", "NumericGreaterThan": 1, "Next": "One"}], "Default": "One"},
    {"Type": "Succeed", "InputPath": "$.a[*]['b','c'][?(@.d > 1)]"},
    {"Type": "Fail", "ErrorPath": "States.Format('{}', $.a)", "Cause": "c"},
    {"Type": "Parallel", "Branches": [{"StartAt": "In", "States": {"In": {"Type": "Pass", "End": True}}}], "End": True},
    {"Type": "Map", "ItemsPath": "$.a", "ItemProcessor": {"StartAt": "In", "States": {"In": {"Type": "Pass", "End": True}}}, "End": True},
    {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": "f", "Payload.$": "$"}, "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 0}], "End": True},
]
WORDS = ["", "a", " ", "ä", "\u0000", "\ud83d\ude00", "\ud800", "'\"\\", "$", "{% $x %}", "../../etc", "x" * 81, "arn:aws:states", "-1", "null", "%00", "\r\nX-Evil: 1"]
NUMBERS = [0, 1, -1, 100, 1000, 1001, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308]


class Maker:
    """Makes values with one random source. `world` gives names of what is there."""

    def __init__(self, random, world):
        self.random, self.world = random, world

    def request(self, operation):
        """A request as the model has it, some optional members left out."""
        return self.value(MODEL["operations"][operation]["input"]["shape"], operation)

    def value(self, name, member):
        shape = SHAPES[name]
        kind = shape["type"]
        if kind == "structure":
            needed = shape.get("required", ())
            members = shape["members"].items()
            return {key: self.value(inner["shape"], key) for key, inner in members if key in needed or self.random.random() < 0.4}
        if kind == "list":
            return [self.value(shape["member"]["shape"], member) for _ in range(self.random.choice([0, 1, 1, 2, 3]))]
        if kind in ("integer", "long"):
            return self.random.choice([shape.get("min", 0), min(shape.get("max", 1000), 1000), 1, 2, 10, 100])
        if kind in ("float", "double"):
            return self.random.choice([0, 12.5, 100])
        if kind == "boolean":
            return self.random.random() < 0.5
        if kind == "timestamp":
            return 1_700_000_000
        if "enum" in shape:
            return self.random.choice(shape["enum"])
        return self.text(name, member)

    def text(self, name, member):
        """A text that the member may hold, most often."""
        known = self.world.names(member)
        if known and self.random.random() < 0.9:
            return self.random.choice(known)
        lowered = member.lower()
        if "definition" in lowered:
            return self.definition(state="TestState" in name or self.random.random() < 0.2)
        if lowered in ("input", "output", "context", "variables", "result", "taskoutput"):
            return json.dumps(self.data(3))
        if lowered == "rolearn":
            return self.world.role
        return self.random.choice(["", "a", f"name-{self.random.randrange(50)}", *WORDS])

    def definition(self, state):
        one = self.random.choice(STATES)
        if state:
            return json.dumps(self.bent(one) if self.random.random() < 0.5 else one)
        whole = {"StartAt": "One", "States": {"One": one}}
        if self.random.random() < 0.3:
            whole["TimeoutSeconds"] = 5
        return json.dumps(self.bent(whole) if self.random.random() < 0.4 else whole)

    def data(self, depth):
        """Any JSON."""
        kind = self.random.randrange(7 if depth else 5)
        if kind == 5:
            return [self.data(depth - 1) for _ in range(self.random.randrange(4))]
        if kind == 6:
            return {self.random.choice(["a", "b", "a.b", "", "$", *WORDS]): self.data(depth - 1) for _ in range(self.random.randrange(4))}
        return [None, True, self.random.choice(NUMBERS), self.random.choice(WORDS), self.random.choice(["x", {"a": 2}, [1]])][kind]

    def bent(self, value, times=None):
        """The value with some of its inner places taken out, doubled, renamed or replaced."""
        value = json.loads(json.dumps(value))
        for _ in range(times or self.random.choice([1, 1, 2, 4])):
            places = list(inner_places(value))
            if not places:
                return self.data(2)
            holder, key = self.random.choice(places)
            how = self.random.randrange(5)
            if how == 0:
                del holder[key]
            elif how == 1 and isinstance(holder, dict):
                holder[self.random.choice(WORDS + ["Next", "End", "Type", "Unknown"])] = holder.pop(key)
            elif how == 2:
                holder[key] = [holder[key]]
            else:
                holder[key] = self.data(2)
        return value


def inner_places(value):
    """Each (container, key) within."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(inner):
        yield value, key
        yield from inner_places(item)


def misfits(value, name, path):
    """Where an answer is not of the model's shape. Members that the model does not know are as wrong as missing ones."""
    shape = SHAPES[name]
    kind = shape["type"]
    fits = {
        "structure": dict,
        "list": list,
        "map": dict,
        "string": str,
        "integer": int,
        "long": int,
        "boolean": bool,
        "float": (int, float),
        "double": (int, float),
        "timestamp": (int, float),
    }[kind]
    if not isinstance(value, fits) or (isinstance(value, bool) and kind != "boolean"):
        yield f"{path}: {kind} is expected, not {str(value)[:80]!r}"
    elif kind == "structure":
        for key in shape.get("required", ()):
            if key not in value:
                yield f"{path}.{key}: is missing"
        for key, item in value.items():
            if key in shape["members"]:
                yield from misfits(item, shape["members"][key]["shape"], f"{path}.{key}")
            else:
                yield f"{path}.{key}: is not in the model"
    elif kind == "list":
        for index, item in enumerate(value):
            yield from misfits(item, shape["member"]["shape"], f"{path}[{index}]")
    elif "enum" in shape and value not in shape["enum"]:
        yield f"{path}: {value!r} is none of {shape['enum']}"
