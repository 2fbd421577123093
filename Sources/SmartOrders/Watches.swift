extension SmartOrder {
    /// What this order waits for in the price of its trigger source.
    public var watches: [Watch] { [] }

    /// Whether every tick has to be decided on: a retry is due at the next one (R15.2).
    public var wantsEveryTick: Bool { false }

    /// The earliest moment at which a `timer` event could change something; nil: never.
    public var nextTimer: Timestamp? { nil }

    /// Takes the best price of quiet ticks, up to a position, into the running extremes.
    public mutating func absorb(extreme: Price, upTo position: TickPosition) {}

    /// Counts every pause before a retry as elapsed (scenarios, an operator's "now").
    public mutating func retryNow() {}

    /// The tightest stop candidate (R7); nil without one.
    public var effectiveStop: EffectiveStop? { nil }

    /// Whether a job is about something that is still awaited; a job that is not decides nothing (R21.2).
    public func awaits(_ leg: Leg, attempt: Int) -> Bool { false }
}
