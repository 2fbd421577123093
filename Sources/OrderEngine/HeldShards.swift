// Which shards somebody holds, by their numbers: a take-over asks a thousand times and more, and a dictionary would hash
// each time.
internal import SmartOrders

/// Some of the shards. O(1) per question, a kilobyte.
struct ShardSet: Sendable {
    private var isIn = [Bool](repeating: false, count: OrderID.shardCount)
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }
    func contains(_ shard: Int) -> Bool { isIn[shard] }

    mutating func insert(_ shard: Int) {
        if isIn[shard] { return }
        isIn[shard] = true
        count += 1
    }

    mutating func remove(_ shard: Int) {
        guard isIn[shard] else { return }
        isIn[shard] = false
        count -= 1
    }

    /// Leaves those that are in `other` too.
    mutating func keep(_ other: ShardSet) {
        if isEmpty { return }
        for shard in isIn.indices where !other.isIn[shard] { remove(shard) }
    }
}

extension ShardSet {
    init(_ shards: some Sequence<Int>) {
        for shard in shards { insert(shard) }
    }
}

/// The epochs of the shards that an evaluator holds.
struct HeldShards {
    private var epochs = [Int64?](repeating: nil, count: OrderID.shardCount)
    private(set) var count = 0
    /// In order, once they were asked for.
    private var known: [Int]?

    var isEmpty: Bool { count == 0 }
    func contains(_ shard: Int) -> Bool { epochs[shard] != nil }

    subscript(shard: Int) -> Int64? {
        get { epochs[shard] }
        set {
            if epochs[shard] == newValue { return }
            count += (newValue == nil ? 0 : 1) - (epochs[shard] == nil ? 0 : 1)
            epochs[shard] = newValue
            known = nil
        }
    }

    /// All of them, in order.
    mutating func numbers() -> [Int] {
        if let known { return known }
        let numbers = epochs.indices.filter { epochs[$0] != nil }
        known = numbers
        return numbers
    }
}
