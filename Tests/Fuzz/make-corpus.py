"""Writes the first inputs of each target; what a run finds beside them stays in .build."""

import pathlib

ROOT = pathlib.Path(__file__).parent / "corpus"
INPUTS = {
    "json": [
        b'{"accountId":"01a1fced-e475-7326-957b-bf41f9fd793a","market":"paper:linear:DEMO","side":"BUY","qty":"10",'
        b'"entry":{"mode":"limit","price":"100"},"takeProfits":[{"price":"105","sizePct":"40"},{"pricePct":"10",'
        b'"sizePct":"60","exec":"limit","limitPrice":"110"}],"stopLoss":{"price":"95","timeoutMs":500,'
        b'"emergencyPrice":"90"},"trailing":{"callbackRate":"0.02"},"breakEven":{"enabled":true,"mode":"offset",'
        b'"offsetPct":"0.1"},"stepLocks":[{"atPct":"2","lockPct":"1"}],"partialStops":[{"price":"97","sizePct":"20"}],'
        b'"exitAt":"2026-11-20T21:18:03.123456Z","note":"\\u00e4 \\ud83d\\ude00"}',
        b'{"type":"STOP_LOSS","side":"SELL","qty":"1","trigger":"95","limit":"94.5","reduceOnly":true}',
        b'[[[[1,-0,1e9,"\\n"],{}],null],true]',
    ],
    "decimals": [b"107.8", b"-0.000000000000000001", b"999999999999999999", b"2026-11-20T21:18:03.5+02:00",
                 b"paper:linear:DEMO", b"01a1fced-e475-7326-957b-bf41f9fd793a"],
    "query": [b"account=1&status=PENDING&status=ACTIVE", b"q=%C3%A4+b&empty=&=x&%3D=%26"],
    "frames": [b"\x81\x05hello", b"\x01\x02he\x89\x01p\x80\x03llo", b"\x88\x02\x03\xe8", b"\x82\x01x", b"\x81\x85hello"],
}
for target, inputs in INPUTS.items():
    for number, data in enumerate(inputs):
        (ROOT / target / f"seed-{number}").write_bytes(data)
