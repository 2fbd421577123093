import JSONText
import Testing

extension EndToEnd {
    @Suite struct APITests {
        @Test func `an order is made once, told of, cancelled, and gone from the venue`() async throws {
            try await Deployment.run(workers: 1, schedulers: 1) { deployment in
                _ = try await deployment.startFeed(["--market", "paper:linear:DEMO"])
                let draft = """
                    {"side": "BUY", "qty": "1", "entry": {"mode": "limit", "price": "90"},
                     "takeProfits": [{"price": "99", "sizePct": "100"}], "stopLoss": {"price": "88"}}
                    """
                let first = try await deployment.create(draft, market: "paper:linear:DEMO", key: "one")
                try #require(first.status == 202 || first.status == 201, "\(first.json)")
                let again = try await deployment.create(draft, market: "paper:linear:DEMO", key: "one")
                let id = try #require(first.json["id"]?.text)
                #expect(again.json["id"]?.text == id)
                #expect(again.isReplayed)
                #expect(try await deployment.number("SELECT count(*) FROM orders") == 1)

                let resting = try await eventually("the entry rests at the venue") {
                    try deployment.venueLog().first { $0["kind"]?.text == "accept" }
                }
                let name = resting["clientOrderId"]?.text
                // The answer of the venue is a version of its own, so the tag is read again when it was overtaken.
                _ = try await eventually("the cancel is taken") { () -> Bool? in
                    let now = try await deployment.request("GET", "/v1/orders/\(id)")
                    let answer = try await deployment.request(
                        "DELETE",
                        "/v1/orders/\(id)",
                        headers: ["If-Match": now.tag ?? ""],
                    )
                    if answer.status == 412 { return nil }
                    #expect(answer.status == 202 || answer.status == 200, "\(answer.json)")
                    return true
                }
                _ = try await eventually("the order is cancelled") {
                    try await deployment.request("GET", "/v1/orders/\(id)").json["status"]?.text == "CANCELLED"
                        ? true : nil
                }
                let end = try deployment.venueLog().filter {
                    $0["kind"]?.text == "end" && $0["clientOrderId"]?.text == name
                }
                #expect(end.map { $0["result"]?.text } == ["CANCELED"])

                let told = try await deployment.stream { $0.contains("\"CANCELLED\"") }
                #expect(told.contains(id))
                #expect(told.contains("\"created\""))
                let history = try await deployment.request("GET", "/v1/orders/\(id)/events")
                #expect(history.status == 200)
                #expect("\(history.json)".contains("\"CANCELLED\""))
            }
        }
    }
}
