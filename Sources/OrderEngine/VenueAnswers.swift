// From a venue's answers to news that an order can decide on (RELIABILITY.md 2.5).
public import SmartOrders

extension VenueSnapshot {
    /// Not every execution is told.
    var lacksFills: Bool { fills.reduce(.zero) { $0 + $1.quantity } < filled }

    /// What this snapshot says of an order of which `known` is stored already. Fills come first, the end last.
    ///
    /// - Parameter seen: fills that the row knows; they are left out.
    /// An end whose executions are not all known yet is no news: the order is looked up until they are.
    public func news(known: VenueOrder, seen: Set<String> = []) -> [VenueNews] {
        var news: [VenueNews] = []
        if state != .rejected { news.append(.accepted(venueOrderID: venueOrderID)) }
        if isTriggered { news.append(.triggered) }
        let new = fills.filter { !seen.contains($0.venueFillID) }
        news += new.map(VenueNews.fill)
        guard new.reduce(known.filled, { $0 + $1.quantity }) >= filled else { return news }
        switch state {
        case .open: break
        case .filled: news.append(.ended(.filled))
        case .expired: news.append(.ended(.expired))
        case .cancelled: news.append(.ended(.cancelled))
        case .rejected: news.append(.refused(.rejected, venueCode: ""))
        }
        return news
    }
}

extension PlacementAnswer {
    /// What the answer to the one request for `known` says; `duplicate` has been looked up.
    func news(known: VenueOrder, seen: Set<String> = []) -> [VenueNews] {
        switch self {
        case .accepted(let snapshot): snapshot.news(known: known, seen: seen)
        case .refused(let kind, let code, _): [.refused(kind, venueCode: code)]
        case .notSent: [.notSent]
        case .duplicate, .unknown: [.unknown]
        }
    }
}
