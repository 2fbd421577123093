#!/usr/bin/env bash
# An order with curl: create it, repeat the request, change it by version, cancel it. Needs API and KEY.
set -euo pipefail

call() { curl -sS --fail-with-body --max-time 20 -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' "$@"; }
field() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }

account=$(call "$API/v1/accounts" | field "['items'][0]['id']")
draft='{"accountId": "'$account'", "market": "paper:linear:DEMO", "side": "BUY", "qty": "2",
  "entry": {"mode": "limit", "price": "50"}, "stopLoss": {"price": "45"},
  "takeProfits": [{"price": "155", "sizePct": "50"}, {"price": "160", "sizePct": "50"}]}'

# The key makes the request safe to repeat: after a timeout send it again, unchanged.
create() { call -X POST "$API/v1/orders" -H "Idempotency-Key: example-curl-$$" -d "$draft"; }
order=$(create | field "['id']")
[ "$(create | field "['id']")" = "$order" ]

# A change names the version that was seen; the venue's answer to the entry may have made a new one meanwhile.
for _ in 1 2 3 4 5; do
  version=$(call "$API/v1/orders/$order" | field "['version']")
  if stop=$(call -X PATCH "$API/v1/orders/$order" -H "If-Match: \"v$version\"" -d '{"stopLoss": {"price": "46"}}' |
    field "['stop']['fixedPrice']"); then break; fi
done
[ "$stop" = 46 ]
call -X DELETE "$API/v1/orders/$order" -H 'If-Match: *' | field "['status']"
