import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import Simulation
import SmartOrders
import TestKit
import Testing

@Suite struct `GET explain` {
    private func tick(_ rig: Rig, _ cents: Int64, after milliseconds: Int64) async throws {
        let now = RealClock().now().microseconds + milliseconds * 1_000
        let tick = RawTick(
            position: TickPosition(venueTime: now, sequence: milliseconds),
            price: cents * 1_000_000,
            receivedAt: now,
        )
        try await rig.ticks.append([tick], to: PriceSeries(market: Instrument.sample().market, source: .mark))
    }

    private func list(_ value: JSONValue?) -> [JSONValue] {
        if case .array(let elements)? = value { elements } else { [] }
    }

    @Test func `says what happened and how near the rest was`() async throws {
        try await withAPI { rig in
            let id = try await rig.create("one")
            try await tick(rig, 9_503, after: 10)
            try await tick(rig, 10_000, after: 20)
            let refused = try await rig.send(
                .PATCH,
                "/v1/orders/\(id)",
                headers: [("X-Request-Id", "my-request")],
                body: #"{"stopLoss": {"price": "130"}}"#,
                ifMatch: "\"v1\"",
            )
            #expect(refused.status == 422, "\(refused.text)")
            let edited = try await rig.send(
                .PATCH,
                "/v1/orders/\(id)",
                headers: [("X-Request-Id", "their-request")],
                body: #"{"stopLoss": {"price": "96"}}"#,
                ifMatch: "\"v1\"",
            )
            #expect(edited.status == 200, "\(edited.text)")

            let answer = try await rig.send(.GET, "/v1/orders/\(id)/explain")
            #expect(answer.status == 200, "\(answer.text)")
            #expect(answer.json["orderId"]?.text == id)
            let timeline = list(answer.json["timeline"])
            #expect(timeline.map { $0["kind"]?.text } == ["ARMED", "REFUSED", "MOVED"], "\(answer.text)")
            let refusal = try #require(timeline.first { $0["kind"] == "REFUSED" })
            #expect(refusal["version"] == .null)
            #expect(refusal["text"]?.text?.hasPrefix("A command was refused (") == true)
            let moved = try #require(timeline.last)
            #expect(moved["version"] == 2 && moved["versionBefore"] == 1)
            #expect(moved["text"] == "The stop moved from 95.0 to 96.0 (stop).")
            #expect(list(moved["changes"]).contains { $0["path"] == "draft.stopLoss.price" && $0["to"] == "96" })
            // Nothing of it was a firing: the times of one are null.
            #expect(moved["latencyMs"]?["venueToReceive"] == .null)

            let stop = try #require(list(answer.json["notFired"]).first { $0["leg"] == "SL" })
            #expect(stop["reason"] == "NOT_REACHED")
            #expect(stop["needed"] == "<= 96")
            let earlier = try #require(list(stop["earlier"]).first)
            #expect(earlier["needed"] == "<= 95" && earlier["closest"] == "95.03", "\(earlier)")
            #expect(earlier["missedByTicks"] == 1 && earlier["coverage"] == "ticks", "\(earlier)")
            let digest = APIKey.hash(Rig.key)
            #expect(!answer.text.contains(digest) && !answer.text.contains(Rig.key))

            let some = try await rig.send(.GET, "/v1/orders/\(id)/explain?leg=tp1")
            #expect(list(some.json["timeline"]).isEmpty)
            #expect(list(some.json["notFired"]).map { $0["leg"]?.text } == ["TP1"])
        }
    }

    @Test func `knows the caller's orders only, and its questions`() async throws {
        try await withAPI { rig in
            let id = try await rig.create("one")
            let stranger = try await rig.send(.GET, "/v1/orders/\(id)/explain", key: Rig.strangerKey)
            #expect(stranger.status == 404)
            let badTime = try await rig.send(.GET, "/v1/orders/\(id)/explain?from=yesterday")
            #expect(badTime.status == 400 && badTime.code == "BAD_QUERY")
            let unknown = try await rig.send(.GET, "/v1/orders/\(id)/explain?color=red")
            #expect(unknown.status == 400)
            #expect(try await rig.send(.GET, "/v1/orders/0/explain").status == 404)
        }
    }
}
