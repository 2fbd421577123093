import JSONText
import LocalServers
import PostgresClient
import RedisClient
import SmartOrders
import Testing

extension EndToEnd {
    @Suite struct KillTests {
        private static let market = "paper:linear:WALK"
        private static let series = "\(market):mark"
        private static let rows = 1_200

        /// Prices that wander, so that exits are spread over the whole replay: the same every time.
        private static var ticks: String {
            var random: UInt64 = 42
            var price: Int64 = 10_000
            var text = "ts_us,venue,symbol,price,qty,side\n"
            for row in 0..<rows {
                random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let phase = Int64(row / 150)
                price += Int64(random >> 33) % 31 - 15 + (phase % 2 == 0 ? 2 + phase : -2 - phase)
                text += "\(1_700_000_000_000_000 + Int64(row) * 100_000),test,WALK,"
                text += "\(price / 100).\(price % 100 < 10 ? "0" : "")\(price % 100),1,buy\n"
            }
            return text
        }

        private static var drafts: [String] {
            var drafts: [String] = []
            // Every order has a quantity of its own, so that the venue's log says whose a fill is.
            func add(_ side: String, _ exits: String) {
                drafts.append(
                    "{\"side\": \"\(side)\", \"qty\": \"\(100 + drafts.count)\", "
                        + "\"entry\": {\"mode\": \"market\"}, \(exits)}"
                )
            }
            for rate in ["0.01", "0.02", "0.03", "0.05", "0.08"] {
                add("BUY", "\"trailing\": {\"callbackRate\": \"\(rate)\"}")
                add("SELL", "\"trailing\": {\"callbackRate\": \"\(rate)\"}")
            }
            for (target, stop) in [("104", "90"), ("108", "80"), ("130", "95")] {
                add(
                    "BUY",
                    "\"takeProfits\": [{\"price\": \"\(target)\", \"sizePct\": \"100\"}], "
                        + "\"stopLoss\": {\"price\": \"\(stop)\"}",
                )
            }
            add(
                "BUY",
                """
                "takeProfits": [{"price": "102", "sizePct": "40"}, {"price": "104", "sizePct": "35"},
                {"price": "140", "sizePct": "25"}], "stopLoss": {"price": "95"}, "breakEven": {"enabled": true}
                """,
            )
            return drafts
        }

        /// What a backtest says: the undisturbed run.
        private func expectation(_ draft: String, _ folder: String) async throws -> Story {
            try Program.write(draft, to: "\(folder)/order.json")
            let run = try await Program.run([
                "backtest", "--ticks", "\(folder)/walk.csv", "--order", "\(folder)/order.json", "--json",
            ])
            try #require(run.status == 0, "\(run.complaint)")
            let report = try JSONValue(parsing: Array(run.output.utf8))
            return Story(changes: report["changes"], result: report["result"])
        }

        /// Waits until a row is published.
        private func row(_ wanted: Int64, _ deployment: Deployment) async throws {
            _ = try await eventually(within: 120, "row \(wanted) is published") {
                try await deployment.publishedRow(Self.series) >= wanted ? true : nil
            }
        }

        @Test func `killing a worker, the leader, and all of Redis changes nothing at the venue`() async throws {
            let folder = try LocalFiles.temporaryFolder("so-walk")
            defer { LocalFiles.removeTree(folder) }
            try Program.write(Self.ticks, to: "\(folder)/walk.csv")
            var expected: [Story] = []
            for draft in Self.drafts { expected.append(try await expectation(draft, folder)) }

            let market = """
                {"product": "linear", "symbol": "WALK", "base": "WALK", "quote": "USDT", "tickSize": "0.01",
                 "stepSize": "1"}
                """
            try await Deployment.run(workers: 3, schedulers: 2, markets: market, isStepped: true) { deployment in
                let feed = try await deployment.startFeed([
                    "--ticks", "\(folder)/walk.csv", "--pace", "stepped", "--wait-orders", "\(Self.drafts.count)",
                ])
                var ids: [String] = []
                for (number, draft) in Self.drafts.enumerated() {
                    let made = try await deployment.create(draft, market: Self.market, key: "order-\(number)")
                    try #require(made.status == 202 || made.status == 201, "\(made.json)")
                    ids.append(try #require(made.json["id"]?.text))
                }
                try await row(300, deployment)
                try await killWorker(deployment)
                try await row(600, deployment)
                let leader = try await deployment.text("SELECT worker FROM leader")
                try deployment.kill(leader)
                try await row(900, deployment)
                _ = try await deployment.redis.send(RedisCommand("FLUSHALL"))
                #expect(await feed.ended(withinMs: 120_000), "the replay ends")

                for (id, story) in zip(ids, expected) {
                    let order = try await eventually("order \(id) is \(story.status ?? "")") { () -> JSONValue? in
                        let order = try await deployment.request("GET", "/v1/orders/\(id)").json
                        return order["status"]?.text == story.status ? order : nil
                    }
                    #expect(order["closeReason"]?.text == story.reason, "\(id)")
                }
                // The venue's own word: each fill once, none missing, nothing else ever accepted.
                let log = try deployment.venueLog()
                let fills = log.filter { $0["kind"]?.text == "fill" }
                    .map { "\($0["fillQty"]?.text ?? "") \($0["fillPrice"]?.text ?? "")" }
                let wanted = expected.flatMap(\.fills)
                    .map { $0.split(separator: " ").dropFirst().joined(separator: " ") }
                #expect(fills.sorted() == wanted.sorted())
                #expect(log.filter { $0["kind"]?.text == "accept" }.count == wanted.count)
                _ = try await eventually("another scheduler leads") { () -> String? in
                    let now = try await deployment.text("SELECT worker FROM leader")
                    return now != leader ? now : nil
                }
                try await explain(ids, deployment)
            }
        }

        /// Every decision of the run can be made again, whoever made it; a row that was changed by hand is found.
        private func explain(_ ids: [String], _ deployment: Deployment) async throws {
            for id in [ids[0], ids[10], ids[13]] {
                let replay = try await deployment.command(["orders", "explain", id, "--replay"])
                #expect(replay.status == 0, "\(replay.output) \(replay.complaint)")
                #expect(replay.output.hasPrefix("same ") && !replay.output.contains("without"), "\(replay.output)")
            }
            let told = try await deployment.command(["orders", "explain", ids[0]])
            #expect(told.output.contains("was at or below the trailing stop"), "\(told.output) \(told.complaint)")
            let shown = try await deployment.request("GET", "/v1/orders/\(ids[0])/explain")
            #expect(shown.status == 200)
            #expect("\(shown.json)".contains("was at or below the trailing stop"))

            try await deployment.database.simple(
                """
                UPDATE events SET state = replace(state, '"status":"STOPPED"', '"status":"CLOSED"')
                WHERE order_id = '\(ids[0])'
                """
            )
            let forged = try await deployment.command(["orders", "explain", ids[0], "--replay"])
            #expect(forged.status == 1)
            #expect(forged.output.hasPrefix("differs v"), "\(forged.output)")
            #expect(forged.output.contains("status stored CLOSED repeated STOPPED"), "\(forged.output)")
            let unknown = try await deployment.command(["orders", "explain", String(ids[0].reversed()), "--replay"])
            #expect(unknown.status == 2 || unknown.status == 3)
        }

        /// From the kill to the next tick that a stepped replay publishes: it waits until all shards are evaluated.
        private func killWorker(_ deployment: Deployment) async throws {
            let victim = try await deployment.text(
                "SELECT worker FROM shards WHERE worker IS NOT NULL GROUP BY worker ORDER BY count(*) DESC LIMIT 1"
            )
            let begun = ContinuousClock.now
            try deployment.kill(victim)
            let row = try await deployment.publishedRow(Self.series)
            // What was reported before the kill may still let a tick or two pass.
            _ = try await eventually("the dead worker's shards are held") {
                try await deployment.number("SELECT count(*) FROM shards WHERE worker IS NULL OR worker = '\(victim)'")
                    == 0
                    ? true : nil
            }
            let held = ContinuousClock.now - begun
            try await self.row(row + 3, deployment)
            let evaluated = ContinuousClock.now - begun
            print("killed worker: shards held elsewhere after \(held), evaluated after \(evaluated)")
            #expect(evaluated < .seconds(3))
        }
    }
}
