"""What schemathesis cannot know: which ids exist, and what would saw off the branch that it sits on."""

import itertools
import json
import os
import random
import urllib.parse
import urllib.request

import schemathesis

ADDRESS = os.environ["SMARTORDERS_ADDRESS"]
KEY = os.environ["SMARTORDERS_KEY"]
KNOWN = json.loads(os.environ["SMARTORDERS_KNOWN"])
numbers = itertools.count()
chance = random.Random(1)


def call(method, path, body=None, **headers):
    headers |= {"Authorization": f"Bearer {KEY}", "Idempotency-Key": f"undo-{next(numbers)}"}
    data = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    request = urllib.request.Request(ADDRESS + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, json.loads(answer.read() or b"null")


def end_halt(method, path):
    """In two steps."""
    status, answer = call(method, path, {"reason": "undo"})
    if status == 202:
        call(method, path, {"reason": "undo", "code": answer["code"]})


def whole(value):
    """Whole numbers are written without a fraction here, which no schema can say: 1000.0 is an integer to it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return [whole(item) for item in value] if isinstance(value, list) else value


def is_right(case):
    """Whether the case is meant to follow the contract."""
    mode = getattr(getattr(case, "meta", None), "generation", None)
    return mode is None or mode.mode.value == "positive"


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path
    parts = case.path_parameters or {}
    kind = path.removeprefix("/v1/admin").removeprefix("/v1").split("/")[1]
    # Neither the key that asks nor its user's roles, nor the last worker.
    if parts.get("id") in KNOWN["own"] or path.endswith("/workers/{id}/stop"):
        parts["id"] = chance.choice(KNOWN["users" if kind == "users" else "keys"])
    if not is_right(case):
        return
    if path == "/v1/events":
        # The stream never ends; its twin is a page.
        case.headers["Accept"] = "application/json"
    # A key that was used for another request is refused, rightly; here each request is an intention of its own.
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 1 <= len(key) <= 200:
        case.headers["Idempotency-Key"] = f"{key}-{next(numbers)}"
    if case.query and "cursor" in case.query:
        del case.query["cursor"]  # signed: nobody can make one
    if case.query and "status" in case.query and "group" in case.query:
        del case.query["group"]  # one or the other
    if "id" in parts and kind in KNOWN and not path.endswith("/stop") and chance.random() < 0.8:
        parts["id"] = chance.choice(KNOWN[kind])
    if "market" in parts and chance.random() < 0.8:
        parts["market"] = "paper:linear:DEMO"
    if isinstance(case.body, (dict, list)) and repr(whole(case.body)) != repr(case.body):
        case.body = whole(case.body)
    if isinstance(case.body, dict) and "accountId" in case.body:
        case.body["accountId"] = KNOWN["accounts"][0]
        case.body["market"] = "paper:linear:DEMO"


@schemathesis.hook
def after_call(context, case, response):
    """Nothing that would have the rest of the run refused stays."""
    if case.method.upper() != "POST" or not 200 <= response.status_code < 300:
        return
    path, parts = case.operation.path, case.path_parameters or {}
    if path == "/v1/accounts/{id}/halt":
        tag = f'"v{response.json()["account"]["version"]}"'
        call("DELETE", f"/v1/accounts/{parts['id']}/halt", **{"If-Match": tag})
    elif path == "/v1/admin/accounts/{id}/halt":
        end_halt("POST", f"/v1/admin/accounts/{parts['id']}/resume")
    elif path == "/v1/admin/halts":
        for halt in call("GET", "/v1/admin/halts")[1]["items"]:
            end_halt("DELETE", "/v1/admin/halts/" + urllib.parse.quote(halt["id"], safe=""))
    elif path in ("/v1/admin/queues/{id}/pause", "/v1/admin/workers/{id}/quiet"):
        stem = path.rsplit("/", 1)[0].replace("{id}", urllib.parse.quote(parts["id"], safe=""))
        call("POST", f"{stem}/resume", {"reason": "undo"})
