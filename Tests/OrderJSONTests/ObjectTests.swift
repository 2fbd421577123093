import JSONText
import OrderJSON
import SmartOrders
import Testing

/// The objects of INTERFACES.md 1.10 and 1.6: their keys, and that whatever stands in a row can be shown.
@Suite struct ObjectTests {
    private static let orderKeys: Set<String> = [
        "id", "kind", "version", "accountId", "mode", "clientOrderId", "market", "venue", "product", "symbol", "side",
        "positionSide", "note", "createdAt", "updatedAt", "activatedAt", "closedAt", "presetId", "status", "phase",
        "health", "healthDetail", "closeReason", "allowedActions", "qty", "triggerSource", "entry", "stopLoss",
        "stopFollow", "placement", "sizeMode", "exitAt", "position", "takeProfits", "progress", "stop", "trailing",
        "breakEven", "stepLocks", "partialStops", "backstop", "printGuard", "pnl", "protection", "legs",
    ]

    @Test func `an order shows every documented key, whatever it is`() throws {
        let price = try #require(Price("100"))
        let tick = try #require(ExactDecimal("0.01"))
        for seed in 0..<60 as Range<UInt64> {
            var random = SeededRandom(seed: seed)
            let instrument = Instrument(
                market: MarketID(venue: "paper", product: "linear", symbol: "X"),
                kind: .perpetual,
                tickSize: Price(tick),
                stepSize: Quantity(.one),
            )
            let draft = Draft(
                side: random.pick(Side.self),
                quantity: Quantity(ExactDecimal(10)),
                entry: EntryPlan(mode: random.pick([.market, .attach]), price: price),
                takeProfits: [TakeProfitPlan(target: .price(price), sizePercent: ExactDecimal(100))],
                stopLoss: random.maybe { _ in StopLossPlan(price: price) },
                trailing: random.maybe { _ in TrailingPlan(callback: .rate(Rate(tick))) },
                breakEven: random.maybe { $0.breakEven() },
                stepLocks: random.list(2) { $0.stepLock() },
                backstop: random.maybe { _ in BackstopPlan(enabled: true) },
            )
            var order = SmartOrder(
                id: OrderID(random.uniqueID()),
                account: AccountID(random.uniqueID()),
                instrument: instrument,
                createdAt: random.time(),
                updatedAt: random.time(),
                draft: draft,
                triggerSource: .last,
            )
            order.status = random.pick(OrderStatus.self)
            order.phase = random.maybe { $0.pick(OrderPhase.self) }
            order.received = Quantity(ExactDecimal(10))
            order.heldCost = Money(ExactDecimal(1000))
            order.averageEntry = AverageEntry(cost: order.heldCost, quantity: order.received)
            order.extreme = random.maybe { _ in price }
            order.levels = [
                Level(number: 1, plan: draft.takeProfits[0], price: price, planned: Quantity(ExactDecimal(10)))
            ]
            order.venueOrders = random.list(2) { $0.venueOrder() }
            var writer = JSONWriter()
            writer.order(
                order,
                context: OrderContext(mode: .paper, price: Price(ExactDecimal(110)), derivedAt: random.time()),
            )
            guard case .object(let object) = try JSONValue(parsing: writer.take()) else {
                Issue.record("no object, seed \(seed)")
                continue
            }
            #expect(Set(object.keys) == Self.orderKeys, "seed \(seed)")
            let gain = draft.side == .buy ? "100" : "-100"
            #expect(object["pnl"]?["unrealized"]?.text == gain, "seed \(seed)")
        }
    }

    @Test func `every fact has a word and is valid text`() throws {
        let key = VenueOrderKey(leg: .takeProfit(2), attempt: 3)
        let fill = Fill(
            venueFillID: "f",
            quantity: Quantity(.one),
            price: Price(.one),
            feeAsset: .other("BNB"),
            time: Timestamp(microseconds: 1),
        )
        var writer = JSONWriter()
        writer.facts([
            .created, .levelFilled(2), .stopMoved(from: nil, to: Price(.one), kind: .breakEven), .fill(key, fill),
            .statusChanged(from: .active, to: .stopped, reason: .stopLoss), .venueOrder(key, .filled),
            .conditionalChanged(from: .pending, to: .triggered, reason: nil),
        ])
        guard case .array(let facts) = try JSONValue(parsing: writer.take()) else {
            Issue.record("no array")
            return
        }
        #expect(
            facts.map { $0["type"]?.text }
                == ["created", "levelFilled", "stopMoved", "fill", "statusChanged", "venueOrder", "statusChanged"]
        )
        #expect(facts[2] == ["type": "stopMoved", "from": nil, "to": "1", "kind": "BE"])
    }

    @Test func `every fact is read back`() throws {
        let key = VenueOrderKey(leg: .takeProfit(2), attempt: 3)
        let one = Price(.one)
        let fills = [Fill.FeeAsset.quote, .base, .other("BNB")].map { asset in
            Fill(
                venueFillID: "f",
                quantity: Quantity(.one),
                price: one,
                feeAsset: asset,
                time: Timestamp(microseconds: 7),
            )
        }
        var facts: [Fact] = [
            .created, .activated, .modified(path: "stopLoss"), .levelTriggered(1), .levelFilled(2), .levelRearmed(3),
            .levelCancelled(4), .levelMerged(5), .replanned, .breakEvenArmed(one), .breakEvenNotArmed(one),
            .lockReached(step: 2, lock: one), .trailingActivated(extreme: one),
            .stopMoved(from: nil, to: one, kind: .breakEven), .stopMoved(from: one, to: nil, kind: nil),
            .stopDelayed(since: Timestamp(microseconds: 8)), .stopDelayReset,
            .stopLatched(kind: .trailing, price: one),
            .stopRetried(attempt: 2), .partialStopFired(1), .partialStopDone(1), .partialStopCancelled(1),
            .backstopPlaced(one),
            .backstopMoved(from: one, to: one), .backstopSkipped(.positionShared), .backstopFired,
            .nativeLegLost(.stop),
            .writtenOff(Quantity(.one)), .dust(Quantity(.one)), .venueOrder(key, .cancelRequested),
            .fundsAdded(Quantity(.one)), .fundsReduced(Quantity(.one)),
            .statusChanged(from: .pending, to: .cancelled, reason: .userCancel),
            .statusChanged(from: .pending, to: .active, reason: nil),
            .conditionalChanged(from: .pending, to: .triggered, reason: nil),
            .conditionalChanged(from: .triggered, to: .cancelled, reason: .iocExpired),
            .printSuspected(one, reference: one), .printConfirmed(one), .printIgnored(one),
            .marketChanged(
                from: MarketTerms(
                    tickSize: one,
                    stepSize: Quantity(.one),
                    minQuantity: .zero,
                    minNotional: .zero,
                    bandRule: nil,
                ),
                to: MarketTerms(
                    tickSize: Price(ExactDecimal(mantissa: 5, scale: 1)),
                    stepSize: Quantity(.one),
                    minQuantity: Quantity(.one),
                    minNotional: Money(.one),
                    bandRule: PriceBandRule(low: Rate(ExactDecimal(mantissa: 95, scale: 2)), high: Rate(.one)),
                ),
            ),
            .phaseChanged(from: nil, to: .closing), .healthChanged(from: .ok, to: .retrying),
        ]
        facts += fills.map { .fill(key, $0) }
        var writer = JSONWriter()
        writer.facts(facts)
        #expect(try Fact.list(JSONField(JSONValue(parsing: writer.take()))) == facts)
    }

    @Test(arguments: 0..<400 as Range<UInt64>)
    func `a record survives its row`(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let record = random.record()
        #expect(try DecisionRecord(encoded: record.encoded()) == record, "seed \(seed)")
    }

    @Test func `a refusal is a problem with a pointer`() throws {
        let refusals = [
            Refusal(
                .tpWrongSide,
                field: "takeProfits[1].price",
                "Level 2 is on the wrong side.",
                ["reference": .number(ExactDecimal(101)), "level": .count(2)],
            ),
            Refusal(.noExit, "No exit."),
        ]
        let problem = try #require(ProblemDocument(refusals: refusals, instance: "/v1/orders", requestID: "r-1"))
        #expect(
            try JSONValue(parsing: problem.encoded())
                == [
                    "type": "/problems/TP_WRONG_SIDE", "title": "A take-profit is not on the side of profit",
                    "status": 422,
                    "detail": "Level 2 is on the wrong side.", "instance": "/v1/orders", "code": "TP_WRONG_SIDE",
                    "errors": [
                        [
                            "pointer": "/takeProfits/1/price", "code": "TP_WRONG_SIDE",
                            "detail": "Level 2 is on the wrong side.", "reference": "101", "level": 2,
                        ], ["pointer": "", "code": "NO_EXIT", "detail": "No exit."],
                    ], "requestId": "r-1", "retryable": false, "reference": "101", "level": 2,
                ]
        )
        let ended = Refusal(.orderTerminal, "Over.", ["status": .text("CLOSED"), "closeReason": .none])
        let over = try #require(ProblemDocument(refusals: [ended]))
        let document = try JSONValue(parsing: over.encoded())
        // The document's own `status` stays that of HTTP.
        #expect(document["status"] == 409 && document["closeReason"] == .null)
        #expect(
            document["errors"]
                == [
                    [
                        "pointer": "", "code": "ORDER_TERMINAL", "detail": "Over.", "status": "CLOSED",
                        "closeReason": nil,
                    ]
                ]
        )
        #expect(ProblemDocument(refusals: []) == nil)
    }

    @Test func `a body of another shape is a problem of status 400`() throws {
        let error = JSONError(.unknownField, pointer: "/stopLos", expected: "a documented field")
        let problem = ProblemDocument(error)
        #expect(problem.status == 400)
        #expect(problem.code == "UNKNOWN_FIELD")
        #expect(problem.detail == "/stopLos: unknown field.")
        #expect(problem.violations.first?.pointer == "/stopLos")
    }

    @Test func `a PATCH tells absent from null`() throws {
        let draft = Draft(
            side: .buy,
            quantity: Quantity(.one),
            entry: EntryPlan(mode: .limit, price: Price(.one), reduceOnly: false),
        )
        let text = #"{"stopLoss": null, "trailing": {"callbackRate": "0.02"}, "entry": {"price": "2"}, "exitAt": null}"#
        let edit = try OrderEdit(json: JSONField(JSONValue(parsing: text)), of: draft)
        #expect(edit.stopLoss == .some(nil))
        #expect(edit.exitAt == .some(nil))
        #expect(edit.breakEven == nil)
        #expect(edit.trailing == .some(TrailingPlan(callback: .rate(Rate(ExactDecimal(mantissa: 2, scale: 2))))))
        #expect(edit.entry == EntryPlan(mode: .limit, price: Price(ExactDecimal(2))))
        #expect(edit.takeProfits == nil)
        for immutable in OrderEdit.immutableFields {
            #expect(throws: JSONError.self) {
                try OrderEdit(json: JSONField(JSONValue(parsing: "{\"\(immutable)\": \"x\"}")), of: draft)
            }
        }
    }
}
