// What a private stream told of positions and balances. While it is open every change arrives, so the last word is the
// present but for the time a frame takes; a stream that closed takes its words with it.
internal import OrderEngine
internal import SmartOrders

struct BinanceTold {
    struct Place: Hashable {
        let symbol: String
        /// Nil: both directions are netted.
        let side: Side?
    }

    /// Connections that are open: each tells everything.
    private var connections = 0
    private var positions: [Place: Holding] = [:]
    private var balances: [String: ExactDecimal] = [:]

    mutating func open() {
        connections += 1
    }

    mutating func close() {
        connections = max(0, connections - 1)
        guard connections == 0 else { return }
        positions = [:]
        balances = [:]
    }

    func position(_ place: Place) -> Holding? { connections > 0 ? positions[place] : nil }
    func balance(_ asset: String) -> ExactDecimal? { connections > 0 ? balances[asset] : nil }

    /// Frames may come out of order, and answers to questions late.
    mutating func note(_ place: Place, _ holding: Holding) {
        guard connections > 0, positions[place].map({ $0.asOf <= holding.asOf }) ?? true else { return }
        positions[place] = holding
    }

    mutating func note(_ asset: String, free: ExactDecimal) {
        guard connections > 0 else { return }
        balances[asset] = free
    }
}
