import SmartOrders

// Random values of the domain's types: well-formed, not necessarily sensible.

extension SeededRandom {
    mutating func flip() -> Bool { .random(using: &self) }

    mutating func maybe<Value>(_ make: (inout SeededRandom) -> Value) -> Value? { flip() ? make(&self) : nil }

    mutating func pick<Choice: CaseIterable>(_ type: Choice.Type) -> Choice where Choice.AllCases == [Choice] {
        pick(Choice.allCases)
    }

    mutating func pick<Choice>(_ choices: [Choice]) -> Choice {
        choices[Int.random(in: 0..<choices.count, using: &self)]
    }

    mutating func list<Value>(_ most: Int, _ make: (inout SeededRandom) -> Value) -> [Value] {
        (0..<Int.random(in: 0...most, using: &self)).map { _ in make(&self) }
    }

    /// At most 18 significant digits, positive and negative.
    mutating func decimal() -> ExactDecimal {
        ExactDecimal(
            mantissa: Int128(Int64.random(in: -999_999_999_999_999_999...999_999_999_999_999_999, using: &self))
                >> Int128(
                    Int.random(in: 0...60, using: &self)
                ),
            scale: Int.random(in: 0...18, using: &self),
        )
    }

    /// Up to 38 digits: a sum or product.
    mutating func wideDecimal() -> ExactDecimal {
        flip() ? decimal() * decimal() : decimal()
    }

    mutating func measure<M: Measure>() -> M { M(decimal()) }
    mutating func wide<M: Measure>() -> M { M(wideDecimal()) }
    mutating func time() -> Timestamp {
        Timestamp(microseconds: .random(in: 0...4_102_444_800_000_000, using: &self))
    }
    mutating func text() -> String { pick(["", "a", "Ünïcode \u{1F600}", "with \"quotes\" and \\", "line\nfeed"]) }
    mutating func uniqueID() -> UniqueID { UniqueID(high: next(), low: next()) }

    mutating func callback() -> Callback { flip() ? .rate(measure()) : .amount(measure()) }

    mutating func takeProfit() -> TakeProfitPlan {
        TakeProfitPlan(
            target: flip() ? .price(measure()) : .percent(decimal()),
            sizePercent: decimal(),
            execution: flip() ? .market : .limit,
            limitPrice: maybe { $0.measure() },
            trailingRate: maybe { $0.measure() },
        )
    }

    mutating func stopLoss() -> StopLossPlan {
        StopLossPlan(
            price: measure(),
            execution: flip() ? .market : .limit,
            limitPrice: maybe { $0.measure() },
            fallbackMs: maybe { .random(in: 0...100_000, using: &$0) },
            timeoutMs: maybe { .random(in: 0...100_000, using: &$0) },
            emergencyPrice: maybe { $0.measure() },
        )
    }

    mutating func entry() -> EntryPlan {
        let mode = pick([EntryPlan.Mode.attach, .market, .limit, .conditional, .trailing])
        return EntryPlan(
            mode: mode,
            price: mode == .limit ? measure() : maybe { $0.measure() },
            trigger: mode == .conditional ? measure() : maybe { $0.measure() },
            limitPrice: maybe { $0.measure() },
            activation: maybe { $0.measure() },
            callbackRate: mode == .trailing ? measure() : maybe { $0.measure() },
            expiresAt: maybe { $0.time() },
            reduceOnly: flip(),
            venueOrder: maybe { $0.text() },
        )
    }

    mutating func breakEven() -> BreakEvenPlan {
        BreakEvenPlan(
            enabled: flip(),
            mode: pick([.entry, .fees, .offset]),
            offsetPercent: maybe { $0.decimal() },
            onFirstTakeProfit: flip(),
            armPrice: maybe { $0.measure() },
            armPercent: maybe { $0.decimal() },
        )
    }

    mutating func stepLock() -> StepLockPlan {
        flip() ? .percent(at: decimal(), lock: decimal()) : .price(at: measure(), lock: measure())
    }

    mutating func partialStop() -> PartialStopPlan {
        PartialStopPlan(distance: flip() ? .price(measure()) : .callback(callback()), sizePercent: decimal())
    }

    mutating func draft() -> Draft {
        Draft(
            side: pick(Side.self),
            quantity: measure(),
            entry: entry(),
            takeProfits: list(4) { $0.takeProfit() },
            stopLoss: maybe { $0.stopLoss() },
            trailing: maybe { TrailingPlan(callback: $0.callback(), activationPrice: $0.maybe { $0.measure() }) },
            breakEven: maybe { $0.breakEven() },
            stopFollow: flip() ? .none : .followTP,
            stepLocks: list(3) { $0.stepLock() },
            partialStops: list(3) { $0.partialStop() },
            backstop: maybe { BackstopPlan(enabled: $0.flip(), distancePercent: $0.decimal()) },
            exitAt: maybe { $0.time() },
            sizeMode: flip() ? .fixed : .position,
            placement: flip() ? .managed : .native,
            positionSide: pick([.both, .long, .short]),
            triggerSource: maybe { $0.pick(TriggerSource.self) },
            clientOrderID: maybe { $0.text() },
            note: maybe { $0.text() },
        )
    }

    mutating func instrument() -> Instrument {
        Instrument(
            market: pick([
                MarketID(venue: "binance", product: "linear", symbol: "BTCUSDT"),
                MarketID(venue: "paper", product: "spot", symbol: "A/B-c_d.e"),
            ]),
            kind: pick(InstrumentKind.self),
            tickSize: Price(ExactDecimal(mantissa: Int128(Int.random(in: 1...500, using: &self)), scale: 4)),
            stepSize: Quantity(ExactDecimal(mantissa: 1, scale: Int.random(in: 0...12, using: &self))),
            minQuantity: measure(),
            minNotional: measure(),
            contractSize: decimal(),
            baseAsset: text(),
            quoteAsset: text(),
            bandRule: maybe { PriceBandRule(low: $0.measure(), high: $0.measure()) },
            makerFee: measure(),
            takerFee: measure(),
            status: pick([.trading, .halted, .delisted]),
        )
    }
}
