// Which worker each shard belongs to: the one whose name and the shard's number make the greatest weight together. Few
// shards change hands when a worker joins or leaves, and nobody has to agree on anything (DESIGN.md 4).
internal import SmartOrders

/// The winners among some workers, kept from one question to the next. O(shards) when a worker joins, as much again for
/// each that is left when one leaves and it held all of them.
struct Rendezvous {
    private var able: [WorkerID] = []
    private var seeds: [UInt64] = []
    /// By shard: the place of its winner among those who were asked for last, and its weight.
    private(set) var winners: [(place: Int, weight: UInt64)] = []

    /// - Parameter able: not empty.
    mutating func decide(among able: [WorkerID], shards: Int) {
        if able == self.able, winners.count == shards { return }
        let known = winners.count == shards ? self.able : []
        let places = known.map { able.firstIndex(of: $0) }
        let joined = able.indices.filter { !known.contains(able[$0]) }
        self.able = able
        seeds = able.map { Self.hash($0.text) }
        let before = winners
        winners = []
        winners.reserveCapacity(shards)
        let all = Array(able.indices)
        for shard in 0..<shards {
            if !known.isEmpty, let place = places[before[shard].place] {
                winners.append(best(shard, among: joined, after: (place, before[shard].weight)))
            } else {
                winners.append(best(shard, among: all, after: nil))
            }
        }
    }

    private func best(
        _ shard: Int,
        among places: [Int],
        after known: (place: Int, weight: UInt64)?,
    ) -> (place: Int, weight: UInt64) {
        var best = known
        for place in places {
            let weight = Self.mix(seeds[place] ^ UInt64(shard) &* 0x9e37_79b9_7f4a_7c15)
            if let best, weight < best.weight || weight == best.weight && able[place] <= able[best.place] { continue }
            best = (place, weight)
        }
        guard let best else { preconditionFailure("nobody is able") }
        return best
    }

    private static func hash(_ text: String) -> UInt64 {
        text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
    }

    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
