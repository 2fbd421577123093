import SmartOrders

// Random records of versions.

extension SeededRandom {
    mutating func record() -> DecisionRecord {
        DecisionRecord(
            steps: list(6) { $0.step() },
            job: maybe { $0.text() },
            requestID: maybe { $0.text() },
            crossing: maybe { random in
                CrossingTimes(receivedAt: random.maybe { $0.time() }, crossedAt: random.time())
            },
            takenAt: maybe { $0.time() },
            exchanges: list(2) { random in
                VenueExchange(
                    key: random.venueOrderKey(),
                    sentAt: random.time(),
                    answeredAt: random.time(),
                    code: random.maybe { $0.text() },
                    detail: random.maybe { $0.text() },
                )
            },
        )
    }

    mutating func venueOrderKey() -> VenueOrderKey {
        VenueOrderKey(leg: leg(), attempt: Int.random(in: 1...9, using: &self))
    }

    private mutating func step() -> DecisionStep {
        switch Int.random(in: 0..<7, using: &self) {
        case 6:
            .change(
                ConditionalChange(
                    trigger: maybe { $0.measure() },
                    limit: maybe { random in random.maybe { $0.measure() } },
                    quantity: maybe { $0.measure() },
                ),
                moment(),
            )
        case 0: .create(bounds(), moment())
        case 1: .absorb(measure(), upTo: position())
        case 2: .reach(position())
        case 3: .begin(time())
        case 4: .submit(list(2) { $0.venueOrderKey() })
        case _: .decide(event(), moment())
        }
    }

    private mutating func moment() -> Moment {
        Moment(
            now: time(),
            price: maybe { $0.measure() },
            position: flip() ? .start : position(),
            band: maybe { PriceBand(low: $0.measure(), high: $0.measure()) },
            held: maybe { $0.decimal() },
            claimedElsewhere: flip() ? .zero : measure(),
            standing: maybe { PositionStanding(net: $0.decimal(), otherOrders: Int.random(in: 0...9, using: &$0)) },
            reference: maybe { $0.measure() },
        )
    }

    private mutating func bounds() -> CreationBounds {
        CreationBounds(
            maxConditionals: Int.random(in: 0...50, using: &self),
            activeConditionals: Int.random(in: 0...50, using: &self),
            minimumCallback: measure(),
            maximumCallback: measure(),
            sources: maybe { random in random.list(2) { $0.pick(TriggerSource.self) } },
            positionAverage: maybe { $0.measure() },
            managedElsewhere: flip() ? .zero : measure(),
            adopted: maybe { random in
                AdoptedOrder(
                    venueOrderID: random.text(),
                    side: random.pick(Side.self),
                    quantity: random.measure(),
                    limit: random.measure(),
                    reduceOnly: random.flip(),
                    fills: random.list(2) { $0.fill() },
                )
            },
            hasOpposite: flip(),
            hasPositionOrder: flip(),
            freeBalance: maybe { $0.decimal() },
        )
    }

    private mutating func fill() -> Fill {
        Fill(
            venueFillID: text(),
            quantity: measure(),
            price: measure(),
            fee: decimal(),
            feeAsset: pick([.quote, .base, .other("BNB")]),
            isMaker: flip(),
            time: time(),
        )
    }

    private mutating func event() -> OrderEvent {
        switch Int.random(in: 0..<9, using: &self) {
        case 0: .tick
        case 1: .timer
        case 2: .trigger(leg(), attempt: Int.random(in: 1...9, using: &self))
        case 3: .cancelFailed(venueOrderKey())
        case 4: .position(net: decimal(), average: maybe { $0.measure() })
        case 5: .venue(venueOrderKey(), news())
        case 6: .attention(pick(Attention.self), isRaised: flip())
        case 7: .market(instrument().terms)
        case _: .command(command())
        }
    }

    private mutating func news() -> VenueNews {
        switch Int.random(in: 0..<8, using: &self) {
        case 7: .triggered
        case 0: .accepted(venueOrderID: text())
        case 1: .fill(fill())
        case 2: .ended(pick([.filled, .expired, .cancelled]))
        case 3:
            .refused(
                pick([.rejected, .insufficientBalance, .rateLimited, .priceOutOfBand, .credentials]),
                venueCode: text(),
            )
        case 4: .notSent
        case 5: .unknown
        case _: .absent
        }
    }

    private mutating func command() -> Command {
        switch Int.random(in: 0..<9, using: &self) {
        case 0: .cancel
        case 1: .cancelLeavingEntry
        case 2: .cancelEntry
        case 3: .closeMarket
        case 4: .closeLevel(Int.random(in: 1...9, using: &self))
        case 5: .openNow
        case 6: .addFunds(measure(), limitPrice: maybe { $0.measure() })
        case 7: .reduceFunds(measure())
        case _: .edit(edit())
        }
    }

    private mutating func edit() -> OrderEdit {
        var edit = OrderEdit()
        edit.stopLoss = change { $0.stopLoss() }
        edit.trailing = change { TrailingPlan(callback: $0.callback(), activationPrice: $0.maybe { $0.measure() }) }
        edit.breakEven = change { $0.breakEven() }
        edit.exitAt = change { $0.time() }
        edit.backstop = change { BackstopPlan(enabled: $0.flip(), distancePercent: $0.decimal()) }
        edit.stopFollow = maybe { $0.flip() ? .none : .followTP }
        edit.stepLocks = maybe { random in random.list(3) { $0.stepLock() } }
        edit.partialStops = maybe { random in random.list(3) { $0.partialStop() } }
        edit.takeProfits = maybe { random in random.list(3) { $0.takeProfit() } }
        edit.printGuard = change { $0.printGuard() }
        edit.placement = maybe { $0.flip() ? .managed : .native }
        edit.cancelLevel = maybe { Int.random(in: 1...9, using: &$0) }
        edit.entryPrice = maybe { $0.measure() }
        edit.quantity = maybe { $0.measure() }
        edit.triggerSource = maybe { $0.pick(TriggerSource.self) }
        edit.entry = maybe { $0.entry() }
        edit.sizeMode = maybe { $0.flip() ? .fixed : .position }
        edit.restingLimit = maybe { random in
            OrderEdit.RestingLimit(level: Int.random(in: 1...9, using: &random), price: random.measure())
        }
        return edit
    }

    /// Left alone, removed, or changed.
    private mutating func change<Part>(_ make: (inout SeededRandom) -> Part) -> Part?? {
        switch Int.random(in: 0..<3, using: &self) {
        case 0: nil
        case 1: .some(nil)
        case _: .some(make(&self))
        }
    }
}
