// Protocol errors that a run can be made to have, in the simulator's own seams: each must be found by the oracle, else
// the simulation tests nothing (RELIABILITY.md 8.6). Production code holds no switches.
internal import OrderEngine
internal import SmartOrders

/// One planted error, with its number in RELIABILITY.md 8.6 where it has one.
package enum Mutant: String, Hashable, Sendable, CaseIterable {
    // The store.
    /// MU1, canary: an order is written whatever its version.
    case noVersionCheck
    /// MU26: fills that are known are told again.
    case fillCountsTwice
    /// MU26: fills are not stored.
    case fillsDropped
    /// MU24: no sweep.
    case noSweep
    /// MU7: one absent answer suffices.
    case oneAbsenceSuffices
    /// MU7: absence from before the fence counts.
    case fenceNotAwaited
    /// MU32: a commit of unknown outcome is taken as done.
    case unknownCommitTakenAsDone
    /// MU37: the halt is not read in the commit.
    case haltNotRead
    /// MU40: the idempotency key is not stored.
    case keyNotStored
    /// Evaluators never hear that an order changed.
    case changesMissed
    /// MU21: the evaluator's stop is a tick looser than the row's.
    case stopOneTickLooser
    /// MU20: a take-over goes on from the newest price.
    case waterMarkRestarted

    // The cluster.
    /// MU15: the cursor moves when a crossing is offered.
    case cursorMovesAtOffer
    /// MU16: a shard is handed on with cursors that are too far.
    case handoverTooFar
    /// MU41: leases of workers never lapse.
    case leaseNeverLapses
    /// The leader's lease never lapses.
    case leaderNeverLapses
    /// MU19: what the stream lost is not read from the extremes.
    case gapNotFilled
    /// Extremes are not stored.
    case extremesNotStored
    /// MU49: of the extremes only the last price of a window is read.
    case latestExtremeOnly

    // The queue and the prices.
    /// MU46: follow-up work has the id of the first job.
    case followUpReusesID
    /// MU18: conflation keeps the last price only.
    case latestPriceOnly

    // The venue's side.
    /// MU3: T0 is read at the moment of the send.
    case lateT0
    /// The request has no deadline.
    case noDeadline
    /// MU4: the fence has no margin.
    case fenceWithoutMargin
    /// MU8: a failed look-up counts as absence.
    case failedLookUpIsAbsence
    /// MU9: the HTTP client repeats once.
    case clientRepeats
    /// MU10, MU11: no answer is taken as a refusal.
    case timeoutTakenAsRefused
    /// No answer is taken as an order that never left.
    case timeoutTakenAsNotSent
    /// MU13: client order ids are random.
    case randomClientID
    /// MU13: the client order id forgets the attempt.
    case idWithoutAttempt
    /// MU25: a cancel without an answer frees the claim.
    case cancelTakenAsDone
    /// Cancels are not sent.
    case cancelNotSent
    /// MU27: fills after a cancel are dropped.
    case fillAfterCancelDropped
    /// Exits are larger by a step.
    case exitOneStepTooLarge
    /// MU43: exits are not reduce-only.
    case notReduceOnly

    // The core.
    /// A fill passes no ticks: those from before it fire what it arms.
    case fillPassesNoTicks
}

extension Mutant {
    /// Faults under which it shows.
    package var faults: FaultPlan {
        switch self {
        case .oneAbsenceSuffices, .fenceNotAwaited, .fenceWithoutMargin, .failedLookUpIsAbsence:
            FaultPlan(factors: [.kill: 1, .venueQueue: 12, .venueLag: 12, .venueAnswer: 12, .venueOutage: 12])
        case .lateT0, .noDeadline, .clientRepeats, .timeoutTakenAsRefused, .timeoutTakenAsNotSent:
            FaultPlan(factors: [.pause: 4, .venueDelay: 12, .venueAnswer: 12, .venueQueue: 12])
        case .latestExtremeOnly, .extremesNotStored, .gapNotFilled:
            FaultPlan(factors: [.redisOutage: 12, .redisLoss: 12, .kill: 1])
        case .cancelTakenAsDone, .cancelNotSent, .fillAfterCancelDropped:
            FaultPlan(factors: [.venueAnswer: 4, .venueLoss: 4, .venuePartial: 8, .venueStream: 12])
        case .unknownCommitTakenAsDone: FaultPlan(factors: [.pgReset: 12])
        case .keyNotStored: FaultPlan(factors: [.pgReset: 4, .trader: 4])
        case .fillPassesNoTicks: FaultPlan(factors: [.feed: 12])
        case .haltNotRead: FaultPlan(factors: [.halt: 12])
        case .cursorMovesAtOffer: FaultPlan(factors: [.blackout: 12])
        case .noVersionCheck, .fillCountsTwice, .fillsDropped, .noSweep, .changesMissed, .stopOneTickLooser,
            .waterMarkRestarted, .handoverTooFar, .leaseNeverLapses, .leaderNeverLapses,
            .followUpReusesID, .latestPriceOnly, .randomClientID, .idWithoutAttempt, .exitOneStepTooLarge,
            .notReduceOnly:
            .uniform
        }
    }
}

/// The planted errors of a run: at most one.
struct Flaws: Sendable {
    let mutant: Mutant?

    func contains(_ one: Mutant) -> Bool { mutant == one }
}

extension Flaws {
    /// How client order ids are made.
    func identity(_ world: World) -> VenueIdentity {
        let simulator = world.simulator
        if contains(.randomClientID) {
            return VenueIdentity { bytes in Oracle.digest(bytes + [UInt8(truncatingIfNeeded: simulator.random())]) }
        }
        if contains(.idWithoutAttempt) {
            return VenueIdentity { bytes in
                let text = String(decoding: bytes, as: UTF8.self)
                let short = text.split(separator: ":").dropLast().joined(separator: ":") + ":1"
                return Oracle.digest(Array(short.utf8))
            }
        }
        return VenueIdentity { Oracle.digest($0) }
    }

    /// What leaves in place of a placement.
    func change(_ placement: Placement, now: Timestamp) -> Placement {
        let step = Quantity(ExactDecimal(mantissa: 1, scale: 1))
        return Placement(
            market: placement.market,
            clientOrderID: placement.clientOrderID,
            side: placement.side,
            type: placement.type,
            quantity: contains(.exitOneStepTooLarge) && placement.isExit
                ? placement.quantity + step : placement.quantity,
            limit: placement.limit,
            reduceOnly: placement.reduceOnly && !contains(.notReduceOnly),
            isExit: placement.isExit,
            t0: contains(.lateT0) ? now : placement.t0,
            windowMs: contains(.noDeadline) ? 3_600_000 : placement.windowMs,
        )
    }

    /// The row that would be stored if a fill passed no ticks: it stands where the steps before the fill left it.
    static func unpass(_ commit: Commit, before: StoredOrder?) -> StoredOrder {
        guard let before, commit.next.position.sequence < 0, commit.next.position > before.position else {
            return commit.next
        }
        var next = commit.next
        next.position = commit.record.steps.reduce(before.position) { position, step in
            switch step {
            case .absorb(_, let end), .reach(let end): max(position, end)
            case .decide(.tick, let moment), .decide(.trigger, let moment): max(position, moment.position)
            case .create, .decide, .change, .begin, .submit: position
            }
        }
        return next
    }

    /// What the evaluator is told of an order.
    static func loosen(_ armed: ArmedOrder, tick: Price) -> ArmedOrder {
        let watches = armed.watches.map { watch in
            guard watch.leg == .stop else { return watch }
            return switch watch.condition {
            case .atOrBelow(let price):
                Watch(leg: watch.leg, attempt: watch.attempt, condition: .atOrBelow(price - tick))
            case .atOrAbove(let price):
                Watch(leg: watch.leg, attempt: watch.attempt, condition: .atOrAbove(price + tick))
            case .trailsHigh, .trailsLow: watch
            }
        }
        return armed.with(position: armed.position, watches: watches)
    }
}

extension ArmedOrder {
    func with(position: TickPosition, watches: [Watch]) -> ArmedOrder {
        ArmedOrder(
            id: id,
            version: version,
            market: market,
            source: source,
            position: position,
            watches: watches,
            tickUnits: tickUnits,
            wantsEveryTick: wantsEveryTick,
            isBusy: isBusy,
            dueAt: dueAt,
            isLive: isLive,
        )
    }
}
