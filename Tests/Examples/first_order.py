"""An order with Python's standard library: create, follow its events, close. Needs API and KEY in the environment."""

import json
import os
import urllib.request
import uuid

API, KEY = os.environ["API"], os.environ["KEY"]


def call(method, path, body=None, **headers):
    headers |= {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


account = call("GET", "/v1/accounts")["items"][0]["id"]
plan = {
    "accountId": account, "market": "paper:linear:DEMO", "side": "BUY", "qty": "1",
    "entry": {"mode": "limit", "price": "50"}, "stopLoss": {"price": "45"},
    "takeProfits": [{"price": "155", "sizePct": "100"}], "breakEven": {"enabled": True},
}
preview = call("POST", "/v1/orders/preview", plan)
assert preview["accepted"], preview["errors"]
order = call("POST", "/v1/orders", plan, **{"Idempotency-Key": str(uuid.uuid4())})
print(order["status"], order["progress"]["text"], "at most lost:", preview["maxLoss"])

# The stream of the account, from its beginning: one event per version.
request = urllib.request.Request(
    f"{API}/v1/events?account={account}&since=1-0",
    headers={"Authorization": f"Bearer {KEY}", "Accept": "text/event-stream"},
)
with urllib.request.urlopen(request, timeout=20) as stream:
    for line in stream:
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            if event.get("orderId") == order["id"]:
                print(event["seq"], [fact["type"] for fact in event["facts"]])
                break

cancelled = call("DELETE", f"/v1/orders/{order['id']}", **{"If-Match": "*"})
print(cancelled["status"], cancelled["phase"])
