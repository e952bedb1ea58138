"""Every constraint of the API's model: each member of each operation is broken by itself, and the service names it."""

import copy
import json

import botocore.loaders

from harness import case, true

from .protocol import send

MODEL = botocore.loaders.Loader().load_service_model("stepfunctions", "service-2")
SHAPES = MODEL["shapes"]
# A text beyond its length is sent up to this one: the body has a bound of its own.
TEXT_MAX = 300_000
# What does not match the patterns of the model.
UNMATCHED = {r"[!-~]+": "a b", r"\p{ASCII}*": "ä", r"^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$": "12"}
# And what does.
MATCHED = {r"[!-~]+": "a", r"\p{ASCII}*": "a", r"^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$": "a"}


def plain(name):
    """A value that the shape takes, without what may be left out."""
    shape = SHAPES[name]
    kind = shape["type"]
    if kind == "structure":
        return {key: plain(shape["members"][key]["shape"]) for key in shape.get("required", ())}
    if kind == "list":
        return [plain(shape["member"]["shape"])]
    if kind == "boolean":
        return True
    if kind == "string":
        return shape["enum"][0] if "enum" in shape else MATCHED.get(shape.get("pattern"), "a")
    return shape.get("min", 1)


def wrongs(name):
    """Values that break one constraint of the shape each."""
    shape = SHAPES[name]
    kind, least, most = shape["type"], shape.get("min"), shape.get("max")
    if kind in ("integer", "long", "float", "double"):
        yield from (bound for bound in (least is not None and least - 1, most is not None and most + 1) if bound is not False)
    elif kind == "list":
        one = plain(shape["member"]["shape"])
        if least:
            yield []
        if most is not None:
            yield [one] * (most + 1)
    elif kind == "string":
        if "enum" in shape:
            yield "no such word"
        if least:
            yield ""
        if most is not None and most < TEXT_MAX:
            yield "a" * (most + 1)
        if "pattern" in shape:
            yield UNMATCHED[shape["pattern"]]


def broken(name, path=()):
    """Of a shape: the way to each of its members, the value to put there, and whether the member is to be taken away."""
    shape = SHAPES[name]
    for value in wrongs(name):
        yield path, value, False
    if shape["type"] == "structure":
        for key, inner in shape["members"].items():
            if key in shape.get("required", ()):
                yield (*path, key), None, True
            yield from broken(inner["shape"], (*path, key))
    elif shape["type"] == "list":
        yield from broken(shape["member"]["shape"], (*path, 0))


def with_wrong(request, name, path, value, is_taken):
    """The request with that at the end of the way, and what is on the way made where it is not there."""
    place, shape = request, SHAPES[name]
    for key in path[:-1]:
        inner = shape["member"]["shape"] if shape["type"] == "list" else shape["members"][key]["shape"]
        if isinstance(place, dict) and key not in place:
            place[key] = plain(inner)
        place, shape = place[key], SHAPES[inner]
    if is_taken:
        place.pop(path[-1], None)
    else:
        place[path[-1]] = value
    return request


def told(path):
    """The way as texts have it: `tags.1.member.key`."""
    return ".".join(f"{part + 1}.member" if isinstance(part, int) else part for part in path)


@case()
def each_is_held_and_named(context):
    count, failed = 0, []
    for operation, shapes in MODEL["operations"].items():
        name = shapes["input"]["shape"]
        for path, value, is_taken in broken(name):
            request = with_wrong(copy.deepcopy(plain(name)), name, path, value, is_taken)
            count += 1
            status, _, text = send(
                context,
                body=json.dumps(request).encode(),
                X_Amz_Target=f"AWSStepFunctions.{operation}",
                Content_Type="application/x-amz-json-1.0",
            )
            answer = json.loads(text)
            is_right = status == 400 and answer["__type"].endswith("#ValidationException")
            if not is_right or f"at '{told(path)}' failed to satisfy constraint" not in answer["message"]:
                failed.append(f"{operation} {told(path)} = {str(value)[:40]!r}: {status} {text[:200]}")
    true(count > 200, f"only {count} constraints were found")
    true(not failed, f"{len(failed)} of {count}: " + "; ".join(failed[:10]))
