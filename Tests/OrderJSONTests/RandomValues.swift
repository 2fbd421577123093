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
            printGuard: maybe { $0.printGuard() },
            positionSide: pick([.both, .long, .short]),
            triggerSource: maybe { $0.pick(TriggerSource.self) },
            clientOrderID: maybe { $0.text() },
            note: maybe { $0.text() },
        )
    }

    mutating func printGuard() -> PrintGuardPlan {
        PrintGuardPlan(
            bandPercent: ExactDecimal(mantissa: Int128(Int.random(in: 100...5_000, using: &self)), scale: 2)
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
            native: NativeOrders(rawValue: UInt8.random(in: 0..<64, using: &self)),
            firstTick: maybe { $0.measure() },
        )
    }
}

extension SeededRandom {
    mutating func retry() -> Retry {
        Retry(count: Int.random(in: 0...9, using: &self), at: maybe { $0.time() }, onNextTick: flip())
    }

    mutating func position() -> TickPosition {
        flip()
            ? .start
            : TickPosition(venueTime: time().microseconds, sequence: .random(in: 0...Int64.max, using: &self))
    }

    mutating func leg() -> Leg {
        pick([
            .entry, .takeProfit(1), .takeProfit(12), .stop, .partialStop(3), .close, .reduce, .add, .backstop,
            .conditional, .timer, .reconcile,
        ])
    }

    mutating func venueOrder() -> VenueOrder {
        VenueOrder(
            leg: leg(),
            attempt: Int.random(in: 1...99, using: &self),
            side: pick(Side.self),
            type: pick([
                .market, .immediateOrCancel, .goodTillCancelled, .stopMarket, .stopLimit, .takeProfitMarket,
                .trailingStop,
            ]),
            quantity: wide(),
            limit: maybe { $0.measure() },
            trigger: maybe { $0.measure() },
            callback: maybe { $0.callback() },
            isNative: flip(),
            reduceOnly: flip(),
            state: pick(VenueOrderState.self),
            filled: flip() ? .zero : wide(),
            venueOrderID: maybe { $0.text() },
            createdAt: time(),
            cancelWanted: flip(),
        )
    }

    mutating func level(_ number: Int) -> Level {
        Level(
            number: number,
            plan: takeProfit(),
            price: wide(),
            planned: flip() ? .zero : wide(),
            filled: flip() ? .zero : wide(),
            state: pick(LevelState.self),
            trailingExtreme: maybe { $0.measure() },
            closeRequested: flip(),
            replaceRequested: flip(),
        )
    }

    mutating func partialStopState(_ number: Int) -> PartialStop {
        PartialStop(
            number: number,
            plan: partialStop(),
            state: pick([.pending, .latched, .done, .cancelled]),
            planned: flip() ? .zero : wide(),
            filled: flip() ? .zero : wide(),
            firedAt: maybe { $0.measure() },
        )
    }

    /// Every stored property gets a value that is not its default, about every second time.
    mutating func order() -> SmartOrder {
        var order = SmartOrder(
            id: OrderID(uniqueID()),
            account: AccountID(uniqueID()),
            instrument: instrument(),
            version: .random(in: 1...Int64.max, using: &self),
            createdAt: time(),
            updatedAt: time(),
            draft: draft(),
            triggerSource: pick(TriggerSource.self),
        )
        order.status = pick(OrderStatus.self)
        order.phase = maybe { $0.pick(OrderPhase.self) }
        order.health = pick(OrderHealth.self)
        order.closeReason = maybe { $0.pick(CloseReason.self) }
        order.goal = pick([.none, .closing(pick(CloseReason.self)), .cancelling(pick(CloseReason.self))])
        order.entered = flip() ? .zero : wide()
        order.entryFilled = flip() ? .zero : wide()
        order.received = flip() ? .zero : wide()
        order.dust = flip() ? .zero : wide()
        order.exited = flip() ? .zero : wide()
        order.writtenOff = flip() ? .zero : wide()
        order.heldCost = flip() ? .zero : wide()
        order.averageEntry = maybe { AverageEntry(cost: $0.wide(), quantity: $0.wide()) }
        order.entryFees = flip() ? .zero : wide()
        order.entryCost = flip() ? .zero : wide()
        order.entryDue = flip()
        order.realized = flip() ? .zero : wide()
        order.fees = flip() ? .zero : wide()
        order.entryRises = flip()
        order.entryTriggered = flip()
        order.entryExtreme = maybe { $0.measure() }
        order.entryGoal = pick([.none, .openNow, .replace, .end(pick(CloseReason.self))])
        order.isAdopted = flip()
        order.reduceWish = maybe { $0.wide() }
        order.addWishes = list(2) { AddWish(quantity: $0.wide(), limit: $0.maybe { $0.measure() }) }
        order.extreme = maybe { $0.measure() }
        order.trailingExtreme = maybe { $0.measure() }
        order.extremePosition = position()
        order.trailingActive = flip()
        order.breakEvenPrice = maybe { $0.measure() }
        order.followPrice = maybe { $0.measure() }
        order.lockPrice = maybe { $0.measure() }
        order.locksReached = Int.random(in: 0...10, using: &self)
        order.latch = maybe {
            Latch(kind: $0.pick(StopKind.self), price: $0.measure(), position: $0.position(), time: $0.time())
        }
        order.stopState = pick(StopState.self)
        order.initialStop = maybe { $0.measure() }
        order.stopChangedAt = maybe { $0.time() }
        order.breakEvenAt = maybe { $0.time() }
        order.delayedSince = maybe { $0.time() }
        order.stopAtMarket = flip()
        order.printCentre = maybe { $0.measure() }
        order.suspect = maybe {
            SuspectPrint(price: $0.measure(), position: $0.position(), until: $0.time(), isIgnored: $0.flip())
        }
        order.levels = (1...3).map { level($0) }
        order.partialStops = (0..<Int.random(in: 0...2, using: &self)).map { partialStopState($0 + 1) }
        order.venueOrders = list(3) { $0.venueOrder() }
        for _ in 0..<Int.random(in: 0...4, using: &self) {
            order.attempts[leg()] = Int.random(in: 1...50, using: &self)
        }
        order.exitRetry = flip() ? .none : retry()
        order.targetRetry = flip() ? .none : retry()
        order.entryRetry = flip() ? .none : retry()
        order.cancelRetry = flip() ? .none : retry()
        order.exitAttempts = Int.random(in: 0...9, using: &self)
        order.exitingSince = maybe { $0.time() }
        order.lastAttemptRefused = flip()
        order.venueUnreachable = flip()
        if flip() { order.attention = Set(Attention.allCases.filter { _ in flip() }) }
        order.backstopDue = maybe { $0.time() }
        order.backstopFailures = Int.random(in: 0...9, using: &self)
        order.backstopNote = maybe { $0.pick(BackstopNote.self) }
        order.lostLegs = list(2) { $0.leg() }
        order.nativeRetry = flip() ? .none : retry()
        return order
    }
}

extension SeededRandom {
    mutating func conditionalOrder() -> ConditionalOrder {
        var order = ConditionalOrder(
            id: OrderID(uniqueID()),
            account: AccountID(uniqueID()),
            instrument: instrument(),
            version: .random(in: 1...Int64.max, using: &self),
            createdAt: time(),
            updatedAt: time(),
            draft: ConditionalDraft(
                kind: pick([.stopLoss, .takeProfit]),
                side: pick(Side.self),
                quantity: measure(),
                trigger: measure(),
                limit: maybe { $0.measure() },
                reduceOnly: flip(),
                positionSide: pick([.both, .long, .short]),
                triggerSource: maybe { $0.pick(TriggerSource.self) },
                expiresAt: maybe { $0.time() },
                clientOrderID: maybe { $0.text() },
                note: maybe { $0.text() },
            ),
            triggerSource: pick(TriggerSource.self),
        )
        order.status = pick(ConditionalStatus.self)
        order.reason = maybe { $0.pick(ConditionalReason.self) }
        order.health = pick(OrderHealth.self)
        order.triggeredAt = maybe { $0.time() }
        order.triggeredPosition = maybe { $0.position() }
        order.position = flip() ? .start : position()
        order.exitingSince = maybe { $0.time() }
        order.filled = flip() ? .zero : wide()
        order.proceeds = flip() ? .zero : wide()
        order.fees = flip() ? .zero : wide()
        order.venueOrders = list(3) { $0.venueOrder() }
        order.attempts = Int.random(in: 0...9, using: &self)
        order.retry = flip() ? .none : retry()
        order.cancelRetry = flip() ? .none : retry()
        order.lastAttemptRefused = flip()
        order.venueUnreachable = flip()
        order.needsAttention = flip()
        order.endReason = maybe { $0.pick(ConditionalReason.self) }
        return order
    }
}
