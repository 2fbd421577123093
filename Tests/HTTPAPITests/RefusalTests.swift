import HTTPAPI
import JSONText
import NIOHTTP1
import OrderEngine
import OrderStorage
import Simulation
import SmartOrders
import TestKit
import Testing

/// One way to be refused. `act` makes the world and sends the request.
private struct Refused: Sendable {
    let code: RefusalCode
    let what: String
    let act: @Sendable (StoredRig) async throws -> Answer

    init(_ code: RefusalCode, _ what: String, _ act: @escaping @Sendable (StoredRig) async throws -> Answer) {
        self.code = code
        self.what = what
        self.act = act
    }

    /// A create that is refused, and a preview of it that says the same.
    static func create(
        _ code: RefusalCode,
        _ what: String,
        _ changes: [String: String],
        tier: String = "PRO",
        mode: Account.Mode = .paper,
        product: String = "linear",
        given: @escaping @Sendable (StoredRig, Tenant) async throws -> Void = { _, _ in },
    ) -> Refused {
        Refused(code, what) { api in
            let tenant = try await api.tenant(tier: tier, mode: mode, product: product)
            try await given(api, tenant)
            let body = api.draft(tenant.account, changes)
            let preview = try await api.send(.POST, "/v1/orders/preview", key: tenant.key, body: body)
            if preview.status == 200 {
                #expect(preview.json["accepted"] == .bool(false), "\(what): \(preview.text)")
                guard case .array(let errors)? = preview.json["errors"] else {
                    Issue.record("\(preview.text)")
                    return preview
                }
                #expect(errors.first?["code"]?.text == code.rawValue, "\(what): \(preview.text)")
            } else {
                #expect(preview.code == code.rawValue, "\(what): \(preview.text)")
            }
            return try await api.send(.POST, "/v1/orders", key: tenant.key, body: body, idempotency: "k")
        }
    }

    /// A conditional order that is refused; the preview says the same.
    static func conditional(
        _ code: RefusalCode,
        _ what: String,
        _ changes: [String: String],
        tier: String = "PRO",
        given: @escaping @Sendable (StoredRig, Tenant) async throws -> Void = { _, _ in },
    ) -> Refused {
        Refused(code, what) { api in
            let tenant = try await api.tenant(tier: tier)
            try await given(api, tenant)
            let body = api.conditional(tenant.account, changes)
            let path = "/v1/conditional-orders"
            let preview = try await api.send(.POST, path + "/preview", key: tenant.key, body: body)
            #expect(preview.json["accepted"] == .bool(false), "\(what): \(preview.text)")
            return try await api.send(.POST, path, key: tenant.key, body: body, idempotency: "k")
        }
    }

    /// A command on an order that is refused.
    static func command(
        _ code: RefusalCode,
        _ what: String,
        _ method: HTTPMethod,
        _ path: String,
        _ body: String? = nil,
        on changes: [String: String] = [:],
        given: @escaping @Sendable (StoredRig, Tenant, String) async throws -> Void = { _, _, _ in },
    ) -> Refused {
        Refused(code, what) { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant, changes)
            try await given(api, tenant, id)
            return try await api.act(tenant, id, method, path, body)
        }
    }
}

private func levels(_ rows: (price: String, size: String)...) -> String {
    "[" + rows.map { #"{"price": "\#($0.price)", "sizePct": "\#($0.size)"}"# }.joined(separator: ", ") + "]"
}

private let waiting = ["entry": #"{"mode": "limit", "price": "100"}"#]
private let free = #"UPDATE users SET tier = 'FREE'"#

/// Every code of ORDERS.md 5.4 that this server can give, each with at least one way to get it.
private let refusals: [Refused] = [
    .conditional(.qtyNotOnStep, "conditional, off the step", ["qty": "\"0.0005\""]),
    .conditional(.priceNotOnTick, "conditional, trigger off the tick", ["trigger": "\"94.95\""]),
    .conditional(.triggerTooLow, "a trigger of one tick size", ["trigger": "\"0.1\""]),
    .conditional(
        .triggerTooHigh,
        "a trigger above twice the price",
        ["side": "\"BUY\"", "trigger": "\"202.1\""],
    ),
    .conditional(.triggerWrongSide, "a stop-loss that sells above the price", ["trigger": "\"101.5\""]),
    .conditional(.triggerWrongSide, "a trigger at the price", ["trigger": "\"101\""]),
    .conditional(.limitOutOfBand, "a limit below the band", ["trigger": "\"80\"", "limit": "\"75.9\""]),
    .conditional(.limitOutOfBand, "a limit above the band", ["trigger": "\"80\"", "limit": "\"120.1\""]),
    .conditional(.timeInPast, "conditional, an expiry in the past", ["expiresAt": "\"2020-01-01T00:00:00Z\""]),
    .conditional(.conditionalLimit, "conditional, one leg too many", [:]) { api, tenant in
        try await api.sql("UPDATE accounts SET maximum_conditionals = 0 WHERE id = '\(tenant.account)'")
    },
    .create(.noPosition, "more than is there", [:]) { api, tenant in
        api.venues[tenant.account].setPosition(ExactDecimal(9))
    },
    .create(
        .positionSideConflict,
        "short on a long",
        ["side": "\"SELL\"", "entry": #"{"mode": "market"}"#, "stopLoss": #"{"price": "105"}"#, "takeProfits": ""],
    ) {
        api,
        tenant in
        api.venues[tenant.account].setPosition(ExactDecimal(20))
        _ = try await api.create(tenant)
    },
    .create(.positionTPSLExists, "two for the whole position", ["sizeMode": "\"position\""]) { api, tenant in
        api.venues[tenant.account].setPosition(ExactDecimal(10))
        _ = try await api.create(tenant, ["sizeMode": "\"position\""])
    },
    .create(.entryNotAdoptable, "no such order at the venue", ["entry": #"{"mode": "attach", "venueOrder": "77"}"#]) {
        api,
        tenant in
        api.venues[tenant.account].setPosition(ExactDecimal(0))
    },
    .create(
        .insufficientBalance,
        "too little to buy with",
        ["market": "\"paper:spot:COIN\"", "entry": #"{"mode": "market"}"#],
        product: "spot",
    ) { api, tenant in
        try await api.accounts.save([.coin(.trading)])
        try await api.price(10_000_000_000, .last, symbol: "COIN", product: "spot")
        api.venues[tenant.account].setBalance(ExactDecimal(999))
    },
    .create(.qtyNotOnStep, "off the step", ["qty": "\"0.0005\""]),
    .create(.qtyNotOnStep, "zero", ["qty": "\"0\""]),
    .create(.tpslOnReduceOnly, "exits", ["entry": #"{"mode": "market", "reduceOnly": true}"#]),
    .create(.conditionalLimit, "three legs where two may be", [:]) { api, tenant in
        try await api.sql("UPDATE accounts SET maximum_conditionals = 2 WHERE id = '\(tenant.account)'")
    },
    .create(.conditionalLimit, "legs of other orders count", [:]) { api, tenant in
        try await api.sql("UPDATE accounts SET maximum_conditionals = 5 WHERE id = '\(tenant.account)'")
        _ = try await api.create(tenant)
    },
    .create(.priceNotOnTick, "stop", ["stopLoss": #"{"price": "95.05"}"#]),
    .create(.tpSizeSum, "99", ["takeProfits": levels(("105", "40"), ("110", "35"), ("120", "24"))]),
    .create(.tpWrongSide, "equal counts as wrong", ["takeProfits": levels(("101", "50"), ("110", "50"))]),
    .create(.tpNotMonotone, "falling", ["takeProfits": levels(("110", "50"), ("105", "50"))]),
    .create(.tpBelowMin, "0.0005 of 0.001", ["qty": "\"0.001\""]),
    .create(.slWrongSide, "at the price", ["stopLoss": #"{"price": "101"}"#]),
    .create(.callbackOutOfRange, "60 %", ["trailing": #"{"callbackRate": "0.6"}"#]),
    .create(.noExit, "nothing", ["stopLoss": "", "takeProfits": ""]),
    .create(.triggerWrongSide, "at the price", ["entry": #"{"mode": "conditional", "trigger": "101"}"#]),
    .create(.limitPriceRequired, "limit stop", ["stopLoss": #"{"price": "95", "exec": "limit"}"#]),
    .create(
        .emergencyWrongSide,
        "tighter than the stop",
        ["stopLoss": #"{"price": "95", "timeoutMs": 1000, "emergencyPrice": "96"}"#],
    ),
    .create(.timeInPast, "exit", ["exitAt": "\"2020-01-01T00:00:00Z\""]),
    .create(
        .trailingTPNotLast,
        "first",
        [
            "takeProfits":
                #"[{"price": "105", "sizePct": "50", "trailingRate": "0.01"}, {"price": "110", "sizePct": "50"}]"#
        ],
    ),
    .create(.stepLockInvalid, "lock above its step", ["stepLocks": #"[{"atPct": "1", "lockPct": "2"}]"#]),
    .create(
        .partialStopInvalid,
        "without a full stop",
        ["stopLoss": "", "partialStops": #"[{"price": "98", "sizePct": "50"}]"#],
    ),
    .create(
        .breakEvenArmInvalid,
        "armed below break-even",
        ["breakEven": #"{"enabled": true, "armPrice": "99"}"#],
    ),
    .create(
        .backstopNotSupported,
        "without a stop",
        ["stopLoss": "", "backstop": #"{"enabled": true}"#],
    ),
    .create(
        .nativeNotPossible,
        "step locks at the venue",
        ["placement": "\"native\"", "stepLocks": #"[{"atPct": "5", "lockPct": "2"}]"#],
    ),
    .create(.instrumentUnknown, "no such market", ["market": "\"paper:linear:NOPE\""]),
    .create(.instrumentUnknown, "a market of another product", ["market": "\"paper:spot:COIN\""]) { api, _ in
        try await api.accounts.save([.coin(.trading)])
    },
    .create(.instrumentNotTrading, "delisted", ["market": "\"paper:spot:COIN\""], product: "spot") { api, _ in
        try await api.accounts.save([.coin(.delisted)])
    },
    .create(
        .sourceUnavailable,
        "mark on spot",
        ["market": "\"paper:spot:COIN\"", "triggerSource": "\"mark\""],
        product: "spot",
    ) { api, _ in
        try await api.accounts.save([.coin(.trading)])
        try await api.price(101 * 100_000_000, .last, symbol: "COIN", product: "spot")
    },
    .create(.tierRequired, "FREE", [:], tier: "FREE"),
    .create(.liveDisabled, "LIVE account", [:], mode: .live),
    .create(.clientOrderIDInUse, "twice", ["clientOrderId": "\"mine\""]) { api, tenant in
        _ = try await api.create(tenant, ["clientOrderId": "\"mine\""])
    },
    .create(.orderLimit, "one is open", [:]) { api, tenant in
        try await api.sql("UPDATE accounts SET maximum_orders = 1 WHERE id = '\(tenant.account)'")
        _ = try await api.create(tenant)
    },
    .create(.accountHalted, "its own halt", [:]) { api, tenant in
        try await api.halt(tenant)
    },
    .create(.accountHalted, "a halt of the market", ["market": "\"paper:linear:HALTED\""]) { api, _ in
        try await api.accounts.save([.sample("HALTED")])
        try await api.price(101 * 100_000_000, symbol: "HALTED")
        try await api.sql(
            """
            INSERT INTO halts VALUES ('market', 'paper:linear:HALTED', 'sends', 'r', 'op') ON CONFLICT DO NOTHING
            """
        )
    },
    .create(.credentialsMissing, "no key", [:]) { api, tenant in
        try await api.sql("DELETE FROM credentials WHERE account_id = '\(tenant.account)'")
    },
    .create(.credentialsRefused, "may withdraw", [:]) { api, tenant in
        try await api.sql("UPDATE credentials SET refusal = 'withdrawal' WHERE account_id = '\(tenant.account)'")
    },

    .command(.notFound, "no such level", .POST, "/take-profits/9/close"),
    .command(.reduceTooLarge, "all of it", .POST, "/reduce-funds", #"{"qty": "10"}"#),
    .command(.notReducible, "before any fill", .POST, "/reduce-funds", #"{"qty": "1"}"#, on: waiting),
    .command(.notReducible, "close before any fill", .POST, "/close", on: waiting),
    .command(.entryAlreadyFilled, "open now", .POST, "/open-now"),
    .command(.entryAlreadyFilled, "cancel entry", .POST, "/cancel-entry"),
    .command(.entryAlreadyFilled, "quantity", .PATCH, "", #"{"qty": "12"}"#),
    .command(.orderTerminal, "cancelled", .PATCH, "", "{}", on: later) { api, tenant, id in
        try await api.carryOut(tenant, id, .DELETE, "")
    },
    .command(.stopAlreadyTriggered, "while closing", .PATCH, "", #"{"stopLoss": {"price": "96"}}"#) { api, tenant, id in
        try await api.carryOut(tenant, id, .POST, "/close")
    },
    .command(.levelNotPending, "twice", .POST, "/take-profits/1/close") { api, tenant, id in
        try await api.carryOut(tenant, id, .POST, "/take-profits/1/close")
    },
    .command(.noExit, "the last one removed", .PATCH, "", #"{"stopLoss": null, "takeProfits": []}"#),
    Refused(.sourceUnavailable, "index on spot") { api in
        try await api.accounts.save([.coin(.trading)])
        try await api.price(101 * 100_000_000, .last, symbol: "COIN", product: "spot")
        let tenant = try await api.tenant(product: "spot")
        let id = try await api.create(tenant, ["market": "\"paper:spot:COIN\""])
        return try await api.act(tenant, id, .PATCH, "", #"{"triggerSource": "index"}"#)
    },
    .command(.slWrongSide, "edit beyond the price", .PATCH, "", #"{"stopLoss": {"price": "101"}}"#),
    .command(.tierRequired, "add funds", .POST, "/add-funds", #"{"qty": "1"}"#) { api, tenant, _ in
        try await api.sql("\(free) WHERE id = '\(tenant.user)'")
    },
    .command(.tierRequired, "open now", .POST, "/open-now", on: waiting) { api, tenant, _ in
        try await api.sql("\(free) WHERE id = '\(tenant.user)'")
    },
    .command(.tierRequired, "a looser stop", .PATCH, "", #"{"stopLoss": {"price": "94"}}"#) { api, tenant, _ in
        try await api.sql("\(free) WHERE id = '\(tenant.user)'")
    },
    .command(.accountHalted, "add funds", .POST, "/add-funds", #"{"qty": "1"}"#) { api, tenant, _ in
        try await api.halt(tenant)
    },
    Refused(.breakEvenWouldTrigger, "switched on below the entry") { api in
        let tenant = try await api.tenant()
        let id = try await api.breakEvenLater(tenant)
        return try await api.act(tenant, id, .PATCH, "", #"{"breakEven": {"enabled": true}}"#)
    },
]

/// Waits for 90.
private let later = ["entry": #"{"mode": "conditional", "trigger": "90"}"#, "stopLoss": #"{"price": "80"}"#]

/// What a code says beside itself (INTERFACES.md 1.6.2).
private let members: [RefusalCode: [String]] = [
    .qtyNotOnStep: ["step", "nearest"], .conditionalLimit: ["limit", "active"], .priceNotOnTick: ["tick", "nearest"],
    .tpSizeSum: ["sum"], .tpWrongSide: ["reference", "level"], .tpNotMonotone: ["level"],
    .tpBelowMin: ["level", "plannedQty", "minQty", "minNotional"], .slWrongSide: ["reference"],
    .callbackOutOfRange: ["min", "max"], .triggerTooLow: ["tick"], .triggerTooHigh: ["max"],
    .triggerWrongSide: ["reference"], .limitOutOfBand: ["min", "max"],
    .breakEvenWouldTrigger: ["breakEvenPrice", "reference"], .trailingTPNotLast: ["level"], .stepLockInvalid: ["step"],
    .partialStopInvalid: ["partialStop"], .breakEvenArmInvalid: ["breakEvenPrice"], .nativeNotPossible: ["possible"],
    .sourceUnavailable: ["available"], .noPosition: ["heldQty", "managedQty"], .reduceTooLarge: ["remainingQty"],
    .orderTerminal: ["status", "closeReason"], .stopAlreadyTriggered: ["phase", "latched"],
    .levelNotPending: ["level", "status"], .notReducible: ["freeQty"], .positionSideConflict: ["orderId"],
    .positionTPSLExists: ["orderId"], .orderLimit: ["limit"], .accountHalted: ["level", "scope", "since", "reason"],
]

/// Codes whose tests stand elsewhere, or that nothing here gives yet.
private let elsewhere: Set<RefusalCode> = []

extension Instrument {
    fileprivate static func coin(_ status: Status) -> Instrument {
        Instrument(
            market: MarketID(venue: "paper", product: "spot", symbol: "COIN"),
            kind: .spot,
            tickSize: Price(ExactDecimal(mantissa: 1, scale: 1)),
            stepSize: Quantity(ExactDecimal(mantissa: 1, scale: 3)),
            baseAsset: "COIN",
            quoteAsset: "USDT",
            status: status,
        )
    }
}

extension StoredRig {
    fileprivate func halt(_ tenant: Tenant) async throws {
        let answer = try await send(
            .POST,
            "/v1/accounts/\(tenant.account)/halt",
            key: tenant.key,
            body: #"{"reason": "enough"}"#,
            idempotency: "halt",
        )
        #expect(answer.status == 202, "\(answer.text)")
    }

    /// A command that is not refused.
    fileprivate func carryOut(_ tenant: Tenant, _ id: String, _ method: HTTPMethod, _ path: String) async throws {
        let answer = try await act(tenant, id, method, path)
        #expect(answer.status == 202, "\(answer.text)")
    }

    /// An order whose first level is filled, at a price below its entry, without break-even.
    fileprivate func breakEvenLater(_ tenant: Tenant) async throws -> String {
        let number = Int.random(in: 1_000...1_000_000_000)
        try await accounts.save([.sample("LOW")])
        try await price(99 * 100_000_000, symbol: "LOW")
        var order = SmartOrder.sample(number, tenant.account, symbol: "LOW")
        order.draft.trailing = nil
        let series = PriceSeries(market: order.instrument.market, source: .mark)
        order.extremePosition = try #require(try await ticks.latest(series)).position
        order.averageEntry = AverageEntry(
            cost: Price(ExactDecimal(100)) * Quantity(ExactDecimal(10)),
            quantity: Quantity(ExactDecimal(10)),
        )
        order.levels[0].state = .filled
        order.levels[0].filled = order.levels[0].planned
        order.exited = order.levels[0].planned
        order.status = .partiallyClosed
        let outcomes = try await orders.commit([.sample(order)])
        for outcome in outcomes { if case .committed = outcome {} else { Issue.record("\(outcome)") } }
        return order.id.description
    }
}

@Suite(.serialized, .timeLimit(.minutes(3)))
struct `Refusals of orders` {
    @Test func `every code comes with its status`() async throws {
        try await withStoredAPI { api in
            for row in refusals {
                let answer = try await row.act(api)
                #expect(answer.code == row.code.rawValue, "\(row.code.rawValue), \(row.what): \(answer.text)")
                #expect(answer.status == row.code.httpStatus, "\(row.code.rawValue), \(row.what): \(answer.text)")
                #expect(answer["Content-Type"] == "application/problem+json")
                #expect(answer.json["type"]?.text == "/problems/\(row.code.rawValue)")
                #expect(answer.json["retryable"] == .bool(false))
                guard let names = members[row.code] else { continue }
                guard case .array(let errors)? = answer.json["errors"], let first = errors.first else {
                    Issue.record("\(row.code.rawValue), \(row.what): \(answer.text)")
                    continue
                }
                for name in names {
                    #expect(first[name] != nil, "\(row.code.rawValue), \(row.what), \(name): \(answer.text)")
                    // The problem's own `status` is that of HTTP.
                    if name != "status" { #expect(answer.json[name] == first[name], "\(answer.text)") }
                }
            }
        }
    }

    @Test func `what a refusal says beside its code is right`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            func first(_ changes: [String: String]) async throws -> JSONValue? {
                let body = api.draft(tenant.account, changes)
                let answer = try await api.send(.POST, "/v1/orders", key: tenant.key, body: body, idempotency: "k")
                guard case .array(let errors)? = answer.json["errors"] else { return nil }
                return errors.first
            }
            let price = try await first(["stopLoss": #"{"price": "95.05"}"#])
            #expect(price?["tick"] == "0.1" && price?["nearest"] == ["95", "95.1"], "\(String(describing: price))")
            let size = try await first(["takeProfits": levels(("105", "40"), ("110", "35"), ("120", "24"))])
            #expect(size?["sum"] == "99" && size?["pointer"] == "/takeProfits", "\(String(describing: size))")
            let quantity = try await first(["qty": "\"0.0005\""])
            #expect(quantity?["step"] == "0.001" && quantity?["nearest"] == "0.001")
            try await api.sql("UPDATE accounts SET maximum_conditionals = 5 WHERE id = '\(tenant.account)'")
            let id = try await api.create(tenant)
            let legs = try await first([:])
            #expect(legs?["limit"] == 5 && legs?["active"] == 3, "\(String(describing: legs))")
            #expect(legs?["pointer"] == "")
            let reduced = try await api.act(tenant, id, .POST, "/reduce-funds", #"{"qty": "11"}"#)
            #expect(reduced.json["remainingQty"] == "10", "\(reduced.text)")
            let stop = try await api.act(tenant, id, .PATCH, "", #"{"stopLoss": {"price": "101"}}"#)
            #expect(stop.json["reference"] == "101", "\(stop.text)")
        }
    }

    @Test func `no code is forgotten`() {
        let seen = Set(refusals.map(\.code))
        for code in RefusalCode.allCases {
            #expect(seen.contains(code) != elsewhere.contains(code), "\(code.rawValue)")
        }
    }

    struct Both: Sendable {
        let first: RefusalCode
        let second: RefusalCode
        var changes: [String: String] = [:]
        /// SQL with the account's id at `@`, its user's at `#`.
        var given = ""
    }

    /// What comes first where two codes apply (INTERFACES.md 1.6.2).
    static let pairs = [
        Both(
            first: .qtyNotOnStep,
            second: .slWrongSide,
            changes: ["qty": "\"0.0005\"", "stopLoss": #"{"price": "102"}"#],
        ),
        Both(
            first: .priceNotOnTick,
            second: .tpSizeSum,
            changes: ["stopLoss": #"{"price": "95.05"}"#, "takeProfits": levels(("105", "50"), ("110", "49"))],
        ),
        Both(
            first: .tpSizeSum,
            second: .tpWrongSide,
            changes: ["takeProfits": levels(("90", "50"), ("110", "49"))],
        ),
        Both(
            first: .tpWrongSide,
            second: .slWrongSide,
            changes: ["takeProfits": levels(("90", "50"), ("110", "50")), "stopLoss": #"{"price": "102"}"#],
        ),
        Both(
            first: .slWrongSide,
            second: .timeInPast,
            changes: ["stopLoss": #"{"price": "102"}"#, "exitAt": "\"2020-01-01T00:00:00Z\""],
        ),
        Both(
            first: .slWrongSide,
            second: .tierRequired,
            changes: ["stopLoss": #"{"price": "102"}"#],
            given: "UPDATE users SET tier = 'FREE' WHERE id = '#'",
        ),
        Both(
            first: .tierRequired,
            second: .orderLimit,
            given:
                "UPDATE users SET tier = 'FREE' WHERE id = '#'; UPDATE accounts SET maximum_orders = 0 WHERE id = '@'",
        ),
        Both(
            first: .orderLimit,
            second: .credentialsMissing,
            given:
                "DELETE FROM credentials WHERE account_id = '@'; UPDATE accounts SET maximum_orders = 0 WHERE id = '@'",
        ),
        Both(
            first: .accountHalted,
            second: .credentialsMissing,
            given: """
                DELETE FROM credentials WHERE account_id = '@';
                INSERT INTO halts VALUES ('account', '@', 'entries', 'r', 'op')
                """,
        ),
    ]

    @Test func `of two refusals the table's first names the answer`() async throws {
        try await withStoredAPI { api in
            for pair in Self.pairs {
                let tenant = try await api.tenant()
                if !pair.given.isEmpty {
                    try await api.sql(
                        pair.given.replacing("@", with: "\(tenant.account)").replacing("#", with: "\(tenant.user)")
                    )
                }
                let answer = try await api.send(
                    .POST,
                    "/v1/orders",
                    key: tenant.key,
                    body: api.draft(tenant.account, pair.changes),
                    idempotency: "k",
                )
                #expect(answer.code == pair.first.rawValue, "\(pair): \(answer.text)")
                #expect(answer.status == pair.first.httpStatus)
                let preview = try await api.send(
                    .POST,
                    "/v1/orders/preview",
                    key: tenant.key,
                    body: api.draft(tenant.account, pair.changes),
                )
                guard case .array(let errors)? = preview.json["errors"] else {
                    Issue.record("\(preview.text)")
                    continue
                }
                let codes = errors.compactMap { $0["code"]?.text }
                #expect(codes.first == pair.first.rawValue, "\(codes)")
                #expect(codes.contains(pair.second.rawValue), "\(codes)")
            }
        }
    }

    @Test func `who has less risk is never refused for his account`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let id = try await api.create(tenant)
            try await api.halt(tenant)
            try await api.sql("\(free) WHERE id = '\(tenant.user)'")
            try await api.sql("DELETE FROM credentials WHERE account_id = '\(tenant.account)'")
            let tighter = try await api.act(tenant, id, .PATCH, "", #"{"stopLoss": {"price": "96"}}"#)
            #expect(tighter.status == 200, "\(tighter.text)")
            let less = try await api.act(tenant, id, .POST, "/reduce-funds", #"{"qty": "1"}"#)
            #expect(less.status == 202, "\(less.text)")
            #expect(try await api.act(tenant, id, .POST, "/close").status == 202)
            #expect(try await api.act(tenant, id, .DELETE, "").status == 202)
        }
    }

    @Test func `a client order id is free again when its order has ended`() async throws {
        try await withStoredAPI { api in
            let tenant = try await api.tenant()
            let changes = later.merging(["clientOrderId": "\"mine\""]) { $1 }
            let body = api.draft(tenant.account, changes)
            // Thirty at once: one gets it.
            let answers = try await withThrowingTaskGroup(of: Answer.self) { group in
                for number in 0..<30 {
                    group.addTask {
                        try await api.send(.POST, "/v1/orders", key: tenant.key, body: body, idempotency: "k\(number)")
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(answers.count { $0.status == 201 } == 1, "\(answers.map(\.text))")
            #expect(answers.count { $0.code == "CLIENT_ORDER_ID_IN_USE" } == 29)
            let id = try #require(answers.first { $0.status == 201 }?.json["id"]?.text)
            #expect(try await api.act(tenant, id, .DELETE, "").status == 202)
            let again = try await api.send(.POST, "/v1/orders", key: tenant.key, body: body, idempotency: "again")
            #expect(again.status == 201, "\(again.text)")
            let other = try await api.tenant()
            let theirs = api.draft(other.account, changes)
            #expect(
                try await api.send(.POST, "/v1/orders", key: other.key, body: theirs, idempotency: "k").status == 201
            )
        }
    }
}
