// Why somebody should look at an order, and what ends it (RELIABILITY.md 11.2), in words.
public import SmartOrders

extension Sentences {
    /// What became or ceased to be a cause with a version, in the order of the codes.
    static func attention(_ before: SmartOrder?, _ after: SmartOrder) -> [String] {
        let known = before?.attention ?? []
        return Attention.allCases.compactMap { cause in
            switch (known.contains(cause), after.attention.contains(cause)) {
            case (false, true): "Somebody should look: \(meaning(cause)) (\(cause.rawValue)). \(wayOut(cause))"
            case (true, false): after.status.isTerminal ? nil : "\(cause.rawValue) is over."
            case (true, true), (false, false): nil
            }
        }
    }

    /// What a cause means.
    public static func meaning(_ cause: Attention) -> String {
        switch cause {
        case .exitUnresolved: "what became of a request is not proven after more than a minute"
        case .venueNoDeadline:
            "what became of a request cannot be proven at this venue, whose requests have no deadline"
        case .stopNotFlat: "the exit is not through after five attempts or 30 s"
        case .stopHeld: "the stop has fired, and a halt keeps it from leaving"
        case .keyInvalid: "the venue refuses the account's key"
        case .venueTLS: "the venue's certificate is not to be trusted, so nothing is sent"
        case .venueClock: "the venue's time is not known well enough, so nothing is sent"
        case .positionMismatch: "less is at the venue than the orders on the position own"
        case .attemptLimit: "the exit expires again and again, and is asked for once a second"
        case .marketHalted: "the market does not trade"
        case .overExit: "the venue reports more exits than had been entered"
        case .poison: "a job of this order ended several workers"
        case .feedGapUnfilled: "prices were missing for a while, and the venue's history does not show them"
        case .historyRewound: "the database went back in time, and changes of that time may be missing"
        }
    }

    /// What goes on meanwhile, and what a person does.
    public static func wayOut(_ cause: Attention) -> String {
        switch cause {
        case .exitUnresolved, .venueNoDeadline:
            "It is looked for, its quantity stays reserved; look at the venue and use `orders resolve`."
        case .stopNotFlat, .attemptLimit:
            "It is tried again; read the refusal, remove its cause, or close at the venue and refresh."
        case .stopHeld: "It leaves when the halt ends."
        case .keyInvalid: "It is tried every 5 s; renew the key."
        case .venueTLS: "It is tried again; check proxies and certificates."
        case .venueClock: "The time is measured again; check the time service."
        case .positionMismatch: "Exits take no more than is there; refresh, then decide."
        case .marketHalted: "It is tried every 10 s; of a delisted market, close by the venue's procedure."
        case .overExit: "Nothing more is sent; look for a second source of orders."
        case .poison: "It is tried again; keep the payload for the developers."
        case .feedGapUnfilled: "The prices since are watched; look at the gap, then refresh to confirm."
        case .historyRewound: "The venue was asked for everything; compare, then refresh to confirm."
        }
    }
}
