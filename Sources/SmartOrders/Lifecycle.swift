// The words for where an order, a level, a stop and a venue order stand (ORDERS.md 4.4 to 4.8).

/// Where a smart order stands, as its trader sees it.
public enum OrderStatus: String, Hashable, Sendable, CaseIterable {
    /// Created, nothing entered yet.
    case pending = "PENDING"
    /// Something is held; legs are watched.
    case active = "ACTIVE"
    /// At least one whole level is FILLED and something remains.
    case partiallyClosed = "PARTIALLY_CLOSED"
    /// Ended by take-profits, close or time exit. Terminal.
    case closed = "CLOSED"
    /// Ended by a stop, flat. Terminal.
    case stopped = "STOPPED"
    /// Ended without exiting. Terminal.
    case cancelled = "CANCELLED"
    /// The entry was definitely refused; there never was exposure. Terminal.
    case failed = "FAILED"

    public var isTerminal: Bool {
        switch self {
        case .pending, .active, .partiallyClosed: false
        case .closed, .stopped, .cancelled, .failed: true
        }
    }

    /// ACTIVE or PARTIALLY_CLOSED.
    public var isOpen: Bool { self == .active || self == .partiallyClosed }
}

/// What is being done for an order that has not ended.
public enum OrderPhase: String, Hashable, Sendable, CaseIterable {
    case waitingEntry, entryWorking, monitoring, stopping, closing, cancelling
}

/// Whether it goes well; in rising order, the worst one shows.
public enum OrderHealth: String, Hashable, Sendable, CaseIterable {
    case ok = "OK"
    case retrying = "RETRYING"
    case venueDown = "VENUE_DOWN"
    case unknown = "UNKNOWN"
    case needsAttention = "NEEDS_ATTENTION"
}

/// Why an order ended.
public enum CloseReason: String, Hashable, Sendable, CaseIterable {
    case allTakeProfitsFilled = "ALL_TP_FILLED"
    case stopLoss = "STOP_LOSS"
    case breakEven = "BREAK_EVEN"
    case followStop = "FOLLOW_STOP"
    case stepLock = "STEP_LOCK"
    case trailingStop = "TRAILING_STOP"
    case backstop = "BACKSTOP"
    case manualClose = "MANUAL_CLOSE"
    case timeExit = "TIME_EXIT"
    case userCancel = "USER_CANCEL"
    case entryRejected = "ENTRY_REJECTED"
    case entryCancelled = "ENTRY_CANCELLED"
    case entryExpired = "ENTRY_EXPIRED"
    case positionFlipped = "POSITION_FLIPPED"
    case positionClosedExternally = "POSITION_CLOSED_EXTERNALLY"
}

/// Where a take-profit level stands (ORDERS.md 4.6). FILLED and CANCELLED are final.
public enum LevelState: String, Hashable, Sendable, CaseIterable {
    case pending = "PENDING"
    case triggered = "TRIGGERED"
    case filled = "FILLED"
    case cancelled = "CANCELLED"
}

/// Where the full stop stands (ORDERS.md 4.7).
public enum StopState: String, Hashable, Sendable, CaseIterable {
    case none = "NONE"
    case armed = "ARMED"
    case delayed = "DELAYED"
    case latched = "LATCHED"
    case exiting = "EXITING"
    case done = "DONE"
    case cancelled = "CANCELLED"
}

/// The stop candidates; on equal prices the first in this order names the stop (R7).
public enum StopKind: String, Hashable, Sendable, CaseIterable {
    case fixed = "SL"
    case breakEven = "BE"
    case follow = "FOLLOW"
    case lock = "LOCK"
    case trailing = "TRAIL"
    /// Only as the kind of a latch (F11).
    case backstop = "BACKSTOP"

    public var closeReason: CloseReason {
        switch self {
        case .fixed: .stopLoss
        case .breakEven: .breakEven
        case .follow: .followStop
        case .lock: .stepLock
        case .trailing: .trailingStop
        case .backstop: .backstop
        }
    }
}

/// Where a venue order stands (ORDERS.md 4.8).
public enum VenueOrderState: String, Hashable, Sendable, CaseIterable {
    case intent = "INTENT"
    case submitted = "SUBMITTED"
    case open = "OPEN"
    case partial = "PARTIAL"
    case unknown = "UNKNOWN"
    case cancelRequested = "CANCEL_REQUESTED"
    case filled = "FILLED"
    case cancelled = "CANCELLED"
    case expired = "EXPIRED"
    case rejected = "REJECTED"
    /// Proven not to have left: rate limit, no connection.
    case notSent = "NOT_SENT"
    /// Proven not to exist at the venue.
    case absent = "ABSENT"

    /// Live states hold a claim on the unfilled quantity.
    public var isLive: Bool {
        switch self {
        case .intent, .submitted, .open, .partial, .unknown, .cancelRequested: true
        case .filled, .cancelled, .expired, .rejected, .notSent, .absent: false
        }
    }
}
