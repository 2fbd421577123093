// Why somebody should look at an order (ORDERS.md 4.4, RELIABILITY.md 11.2). Never that the system has given up: what it
// does goes on until the cause is gone.

/// A cause of NEEDS_ATTENTION; the raw value is the code of `healthDetail`.
public enum Attention: String, Hashable, Sendable, CaseIterable {
    /// A minute past the fence an outcome is still unresolved. The shell says so; cleared by proof.
    case exitUnresolved = "EXIT_UNRESOLVED"
    /// A latched stop or close is not flat after 5 attempts or 30 s. Cleared when it is.
    case stopNotFlat = "STOP_NOT_FLAT"
    /// Latched under a halt that forbids sending. The shell says so; cleared when the exit leaves.
    case stopHeld = "STOP_HELD"
    /// The venue refused the credentials. Cleared by the next success.
    case keyInvalid = "KEY_INVALID"
    /// Less is there than the orders on the position own, and no fill explains it. Cleared when it fits again.
    case positionMismatch = "POSITION_MISMATCH"
    /// An exit expires for ever and is asked once per second. Cleared when it is flat.
    case attemptLimit = "ATTEMPT_LIMIT"
    /// An unknown outcome at a venue without a deadline: that it is not there proves nothing. The shell says so; cleared
    /// by proof, or by an operator's word.
    case venueNoDeadline = "VENUE_NO_DEADLINE"
    /// The venue's certificate is not to be trusted: nothing is sent. The shell says so and takes it back.
    case venueTLS = "VENUE_TLS"
    /// The venue's clock is not known well enough for a request to carry a time. The shell says so and takes it back.
    case venueClock = "VENUE_CLOCK"
    /// The market does not trade, and something is held there. Cleared by the next success.
    case marketHalted = "MARKET_HALTED"
    /// More left than had come. It is a fact of the ledger, and stays.
    case overExit = "OVER_EXIT"
    /// A job of this order ended three workers or more. Cleared when one comes through.
    case poison = "POISON"
    /// A history of the database that was lost had asked the venue for this order. Cleared by the trader's `refresh`.
    case historyRewound = "HISTORY_REWOUND"
    /// Prices were missing while legs were armed, and no history shows them. Cleared by the trader's `refresh`.
    case feedGapUnfilled = "FEED_GAP_UNFILLED"
}

extension Deciding {
    /// What the shell found out. A cause that ended by itself is not raised again by old news.
    mutating func attention(_ cause: Attention, isRaised: Bool) {
        guard !order.isTerminal else { return }
        guard isRaised else {
            order.attention.remove(cause)
            return
        }
        switch cause {
        case .exitUnresolved, .venueNoDeadline: guard order.hasUnanswered else { return }
        case .stopHeld: guard order.hasHeldExit else { return }
        case .stopNotFlat, .keyInvalid, .positionMismatch, .attemptLimit, .venueTLS, .venueClock, .marketHalted,
            .overExit, .poison, .historyRewound, .feedGapUnfilled:
            break
        }
        order.attention.insert(cause)
    }

    /// Causes that follow from the order itself.
    mutating func deriveAttention() {
        if let since = order.exitingSince, !order.isTerminal, order.isExiting || order.hasLatchedPartialStop {
            // R15.2: the retries go on, but somebody should look.
            if order.exitAttempts >= 5 || now >= since.advanced(milliseconds: 30_000) {
                order.attention.insert(.stopNotFlat)
            }
            if order.exitAttempts >= Self.floodLimit { order.attention.insert(.attemptLimit) }
        }
        if !order.hasUnanswered { order.attention.subtract([.exitUnresolved, .venueNoDeadline]) }
        if !order.hasHeldExit { order.attention.remove(.stopHeld) }
        // Facts are never refused (RELIABILITY.md 3.1.1); of an order that has ended it is the only thing left to say.
        if order.remaining.value.isNegative { order.attention.insert(.overExit) }
    }
}

extension SmartOrder {
    public var needsAttention: Bool { !attention.isEmpty }

    /// Sent, and nobody knows what became of it.
    var hasUnanswered: Bool { venueOrders.contains { $0.state == .unknown || $0.state == .submitted } }

    /// An exit that is wished for and has not left.
    var hasHeldExit: Bool { venueOrders.contains { $0.leg.isExit && $0.state == .intent } }
}
