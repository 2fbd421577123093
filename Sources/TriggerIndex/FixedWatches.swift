// The fixed watches of one direction, in the mirrored space of `WatchClass`: each fires when price <= its key.
//
// Cost: O(log n) to arm and disarm, O(1) per firing. 28 to 34 bytes per watch.

struct FixedWatches: Sendable {
    private(set) var slots = SlotTable()
    private var levels = SortedLevels()

    /// The highest key: a price at or below it fires something.
    var bound: Int64 { levels.greatestKey }
    var footprint: Int { slots.footprint + levels.footprint }

    mutating func arm(_ key: Int64, tag: UInt64) -> (slot: Int, generation: UInt32) {
        let place = slots.take(tag: tag)
        levels.insert(key, place.slot)
        return place
    }

    /// Arms many at once; the places are in the order of `keys`.
    mutating func arm(_ keys: [Int64], tags: [UInt64]) -> [(slot: Int, generation: UInt32)] {
        slots.reserve(keys.count)
        let places = tags.map { slots.take(tag: $0) }
        levels.insert(contentsOf: zip(keys, places).map { SortedLevels.Entry(key: $0, number: UInt32($1.slot)) })
        return places
    }

    mutating func disarm(_ slot: Int) {
        levels.remove(slot)
        _ = slots.release(slot)
    }

    func brokenInvariant() -> String? {
        levels.count == slots.count ? levels.brokenInvariant() : "levels and slots"
    }

    func threshold(of slot: Int) -> Int64 { levels.key(of: slot) }

    /// Takes out every watch that `price` reaches, nearest first, of equal levels the first armed first.
    mutating func fire(at price: Int64, _ kind: WatchClass, _ crossings: inout [Crossing]) {
        while levels.greatestKey >= price {
            let key = levels.greatestKey
            let slot = levels.popLast()
            let (tag, generation) = slots.release(slot)
            let handle = WatchHandle(kind: kind, slot: slot, generation: generation)
            crossings.append(Crossing(tag: tag, handle: handle, threshold: kind.sign * key, extreme: nil))
        }
    }
}
