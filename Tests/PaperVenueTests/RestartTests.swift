// The log: what it says, and that a venue rebuilt from it is the venue that was.

import JSONText
import PaperVenue
import SmartOrders
import Testing

/// What a client can see of its account, without the time of asking.
func portrait(_ client: Client) async throws -> [String] {
    let requests = [
        ("/api/v3/account", ""), ("/api/v3/openOrders", ""), ("/api/v3/allOrders", "symbol=BTCUSDT&limit=1000"),
        ("/api/v3/myTrades", "symbol=BTCUSDT&limit=1000"), ("/fapi/v3/account", ""), ("/fapi/v1/openOrders", ""),
        ("/fapi/v2/positionRisk", ""), ("/fapi/v1/allOrders", "symbol=BTCUSDT&limit=1000"),
        ("/fapi/v1/userTrades", "symbol=BTCUSDT&limit=1000"), ("/fapi/v1/positionSide/dual", ""),
    ]
    // A price at which nothing trades: positions are valued alike before and after.
    for product in ["spot", "linear"] { await client.price("paper:\(product):BTCUSDT", "100", "0") }
    var portrait: [String] = []
    for (path, parameters) in requests {
        var json = try await client.send(.GET, path, parameters).json
        if case .object(var object) = json {
            object["updateTime"] = nil
            if case .array(let assets)? = object["assets"] {
                object["assets"] = .array(
                    assets.map { asset in
                        guard case .object(var members) = asset else { return asset }
                        members["updateTime"] = nil
                        return .object(members)
                    }
                )
            }
            json = .object(object)
        }
        portrait.append("\(path) \(json)")
    }
    return portrait
}

/// Places, cancels and feeds at random; the same seed does the same.
struct Walk {
    var random: SeededRandom
    var price: Int64 = 1000
    var orders = 0

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    mutating func step(_ client: Client) async throws {
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<4:
            price = max(600, min(1600, price + .random(in: -30...30, using: &random)))
            let quantity = ExactDecimal(mantissa: Int128.random(in: 1...60, using: &random), scale: 1)
            for product in ["spot", "linear"] {
                await client.price("paper:\(product):BTCUSDT", "\(priceText(price))", "\(quantity)")
            }
        case 4..<9:
            orders += 1
            let side = Bool.random(using: &random) ? "BUY" : "SELL"
            let quantity = ExactDecimal(mantissa: Int128.random(in: 1...30, using: &random), scale: 1)
            var text = "symbol=BTCUSDT&side=\(side)&quantity=\(quantity)&newClientOrderId=w\(orders)"
            switch Int.random(in: 0..<4, using: &random) {
            case 0: text += "&type=MARKET"
            case 1:
                text += "&type=LIMIT&timeInForce=IOC&price=\(priceText(price + .random(in: -9...9, using: &random)))"
            default:
                text += "&type=LIMIT&timeInForce=GTC&price=\(priceText(price + .random(in: -40...40, using: &random)))"
            }
            if Bool.random(using: &random) {
                if Int.random(in: 0..<3, using: &random) == 0 { text += "&reduceOnly=true" }
                try await client.linear(text)
            } else {
                try await client.spot(text)
            }
        default:
            let id = Int.random(in: 1...max(1, orders), using: &random)
            let path = Bool.random(using: &random) ? "/api/v3/order" : "/fapi/v1/order"
            _ = try await client.send(.DELETE, path, "symbol=BTCUSDT&origClientOrderId=w\(id)")
        }
    }

    private func priceText(_ tenths: Int64) -> String { "\(ExactDecimal(mantissa: Int128(tenths), scale: 1))" }
}

/// SplitMix64.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

@Suite struct RestartTests {
    @Test(arguments: 0..<4 as Range<UInt64>)
    func `a venue that is killed goes on exactly where it was`(seed: UInt64) async throws {
        let path = temporaryPath("venue.jsonl")
        let copy = temporaryPath("copy.jsonl")
        var before: [String] = []
        try await withVenue {
            $0.logPath = path
        } _: { client async throws in
            var walk = Walk(seed: seed)
            for _ in 0..<150 { try await walk.step(client) }
            before = try await portrait(client)
            // As `kill -9` leaves it: what is in the file now, with a line begun.
            copyText(path, copy)
            appendText(copy, #"{"n":999999,"time":1,"kind":"fi"#)
        }
        for _ in 0..<2 {
            try await withVenue {
                $0.logPath = copy
            } _: { client async throws in
                let after = try await portrait(client)
                for (new, old) in zip(after, before) where new != old {
                    Issue.record("seed \(seed): \(new.prefix(3000)) instead of \(old.prefix(3000))")
                }
            }
        }
        removeText(path)
        removeText(copy)
    }

    @Test func `resting orders fill and ids stay taken after a restart`() async throws {
        let path = temporaryPath("venue.jsonl")
        let rest = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=95&newClientOrderId=id1"
        var firstID = ""
        try await withVenue {
            $0.logPath = path
        } _: { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            firstID = try await client.spot(rest)["orderId"] ?? ""
            // A part fills before, the rest after.
            await client.price("paper:spot:BTCUSDT", "95", "0.4")
        }
        try await withVenue {
            $0.logPath = path
        } _: { client async throws in
            #expect(try await client.spot(rest).code == -2010)
            await client.price("paper:spot:BTCUSDT", "94", "50")
            let seen = try await client.send(.GET, "/api/v3/order", "symbol=BTCUSDT&origClientOrderId=id1")
            #expect(seen["orderId"] == firstID)
            #expect(seen["status"] == "FILLED")
            #expect(try await client.balance("BTC").free == dec("10.999"))
            #expect(try await client.balance("USDT").locked == .zero)
            let next = try await client.spot(rest.replacing("id1", with: "id2"))
            #expect((Int(next["orderId"] ?? "") ?? 0) > (Int(firstID) ?? 0))
        }
        removeText(path)
    }

    @Test func `the log tells each request from its arrival to its answer`() async throws {
        let path = temporaryPath("venue.jsonl")
        try await withVenue {
            $0.logPath = path
        } _: { client async throws in
            await client.price("paper:linear:BTCUSDT", "100", "0.5")
            try await client.linear(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=IOC&quantity=1&price=101&newClientOrderId=l1"
            )
            try await client.linear(
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=IOC&quantity=0&price=101&newClientOrderId=l2"
            )
            try await client.control(#"{"rules":[{"do":"dropAfter","on":"place"}]}"#)
            _ = try? await client.send(
                .POST,
                "/fapi/v1/order",
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=95&newClientOrderId=l3",
                timeoutMs: 200,
            )
            let lines = readLog(path)
            func kinds(_ id: String) -> [String] {
                lines.filter { $0["clientOrderId"]?.text == id }
                    .map { "\($0["kind"]?.text ?? "") \($0["result"]?.text ?? "")" }
            }
            #expect(
                kinds("l1") == [
                    "request RECEIVED", "accept NEW", "fill PARTIALLY_FILLED", "end EXPIRED", "answer SENT",
                ]
            )
            #expect(kinds("l2") == ["request RECEIVED", "refuse -1013", "answer SENT"])
            #expect(kinds("l3") == ["request RECEIVED", "accept NEW", "answer DROPPED"])
            #expect(lines.map { $0["n"]?.int64 } == (1...Int64(lines.count)).map { $0 })
            let fill = lines.first { $0["kind"]?.text == "fill" }
            let tick = lines.firstIndex { $0["kind"]?.text == "tick" }
            #expect(fill?["fillQty"]?.text == "0.5" && fill?["fillPrice"]?.text == "100")
            #expect(tick != nil && tick.map { lines[$0]["price"]?.text } == "100")
            for key in [
                "account", "market", "clientOrderId", "orderId", "side", "type", "qty", "price", "time", "result",
            ] {
                #expect(fill?[key] != nil, "\(key)")
            }
        }
        removeText(path)
    }

    @Test func `a log that ends inside a line never shrinks and keeps its numbers`() async throws {
        let path = temporaryPath("venue.jsonl")
        try await withVenue {
            $0.logPath = path
        } _: { client async throws in
            await client.price("paper:spot:BTCUSDT", "100", "50")
            try await client.spot("symbol=BTCUSDT&side=BUY&type=MARKET&quantity=1")
        }
        let before = readLog(path).count
        appendText(path, #"{"n":"#)
        try await withVenue {
            $0.logPath = path
        } _: { client async throws in
            #expect(try await client.balance("BTC").free == dec("10.998"))
        }
        let lines = readLog(path)
        #expect(lines.count > before)
        #expect(lines.map { $0["n"]?.int64 } == (1...Int64(lines.count)).map { $0 })
        #expect(lines[before]["torn"] == true)
        removeText(path)
    }
}

@Suite struct ConservationTests {
    @Test(arguments: 10..<18 as Range<UInt64>)
    func `balances conserve and positions are the sum of their fills`(seed: UInt64) async throws {
        let path = temporaryPath("venue.jsonl")
        try await withVenue { configuration in
            configuration.logPath = path
            configuration.spotFeeAsset = seed % 2 == 0 ? .received : .quote
            if seed % 3 == 0 { configuration.markets[1].liquidity = .unlimited }
        } _: { client async throws in
            var walk = Walk(seed: seed)
            for _ in 0..<150 { try await walk.step(client) }
            var coins: [String: ExactDecimal] = ["BTC": ExactDecimal(10), "USDT": ExactDecimal(100_000)]
            var wallet = ExactDecimal(100_000)
            var cash = ExactDecimal.zero
            var net = ExactDecimal.zero
            var fills = 0
            for line in readLog(path) where line["kind"]?.text == "fill" {
                fills += 1
                let quantity = dec(line["fillQty"]?.text ?? "")
                let value = quantity * dec(line["fillPrice"]?.text ?? "")
                let fee = dec(line["fee"]?.text ?? "")
                let isBuy = line["side"]?.text == "BUY"
                if line["market"]?.text?.contains("spot") == true {
                    coins["BTC", default: .zero] += isBuy ? quantity : -quantity
                    coins["USDT", default: .zero] += isBuy ? -value : value
                    coins[line["feeAsset"]?.text ?? "", default: .zero] -= fee
                } else {
                    net += isBuy ? quantity : -quantity
                    cash += isBuy ? -value : value
                    wallet += dec(line["realized"]?.text ?? "") - fee
                }
            }
            #expect(fills > 20, "seed \(seed)")
            var locked: [String: ExactDecimal] = ["BTC": .zero, "USDT": .zero]
            if case .array(let open) = try await client.send(.GET, "/api/v3/openOrders").json {
                for order in open {
                    let left = dec(order["origQty"]?.text ?? "") - dec(order["executedQty"]?.text ?? "")
                    if order["side"]?.text == "BUY" {
                        locked["USDT", default: .zero] += left * dec(order["price"]?.text ?? "")
                    } else {
                        locked["BTC", default: .zero] += left
                    }
                }
            }
            for asset in ["BTC", "USDT"] {
                let balance = try await client.balance(asset)
                #expect(balance.free + balance.locked == coins[asset], "seed \(seed) \(asset)")
                #expect(balance.locked == locked[asset], "seed \(seed) \(asset)")
                #expect(!balance.free.isNegative, "seed \(seed) \(asset)")
            }
            let position = try await client.position("BTCUSDT")
            #expect(position.quantity == net, "seed \(seed)")
            #expect(try await client.wallet() == wallet, "seed \(seed)")
            // What was realized is the cash that came in plus what the open position cost.
            let realized = (wallet - ExactDecimal(100_000)).rounded(decimals: 6)
            var fees = ExactDecimal.zero
            for line in readLog(path)
            where line["kind"]?.text == "fill" && line["market"]?.text == "paper:linear:BTCUSDT" {
                fees += dec(line["fee"]?.text ?? "")
            }
            let expected = (cash + position.quantity * position.entry - fees).rounded(decimals: 6)
            #expect((realized - expected).magnitude < dec("0.00001"), "seed \(seed)")
        }
        removeText(path)
    }
}
