// From a venue's answers to news that an order can decide on (RELIABILITY.md 2.5).
public import SmartOrders

extension VenueSnapshot {
    /// What this snapshot says of an order of which `known` is stored already. Fills come first, the end last.
    public func news(known: VenueOrder) -> [VenueNews] {
        var news: [VenueNews] = []
        if state != .rejected { news.append(.accepted(venueOrderID: venueOrderID)) }
        news += fills.map(VenueNews.fill)
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
    /// Nil: nothing can be said yet; the order is looked up.
    func news(known: VenueOrder) -> [VenueNews] {
        switch self {
        case .accepted(let snapshot): snapshot.news(known: known)
        case .refused(let kind, let code, _): [.refused(kind, venueCode: code)]
        case .notSent: [.notSent]
        case .duplicate, .unknown: [.unknown]
        }
    }
}
