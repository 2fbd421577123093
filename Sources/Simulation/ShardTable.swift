// Who holds which shard. Every heartbeat asks for its worker's and every look of a scheduler for all of them, so the
// answers are kept until one of their shards changes hands.
//
// Workers have numbers in here: what is done a thousand times per take-over compares no texts.
internal import OrderEngine
internal import SmartOrders

struct ShardTable {
    struct Row {
        /// Nil: nobody's.
        fileprivate(set) var worker: Int?
        fileprivate var previous: Int?
        fileprivate(set) var epoch: Int64 = 0
        fileprivate(set) var handover: Int64?
        fileprivate(set) var isAccepted = false
    }

    private(set) var rows = [Row](repeating: Row(), count: OrderID.shardCount)
    private var names: [WorkerID] = []
    private var numbers: [WorkerID: Int] = [:]
    /// Shards of each worker.
    private var counts: [Int] = []
    /// Nil: to be made again.
    private var lists: [[ShardAssignment]?] = []
    private var allHolders: [WorkerID?]?

    /// Nil: never held a shard.
    func number(of worker: WorkerID) -> Int? { numbers[worker] }
    func name(_ number: Int) -> WorkerID { names[number] }
    func holdsAny(_ worker: WorkerID) -> Bool { numbers[worker].map { counts[$0] > 0 } ?? false }

    /// In the order of the shards.
    mutating func assignments(of worker: WorkerID) -> [ShardAssignment] {
        guard let number = numbers[worker] else { return [] }
        if let list = lists[number] { return list }
        var list: [ShardAssignment] = []
        list.reserveCapacity(counts[number])
        if counts[number] > 0 {
            for (shard, row) in rows.enumerated() where row.worker == number {
                list.append(
                    ShardAssignment(
                        shard: shard,
                        epoch: row.epoch,
                        previous: row.previous.map { names[$0] },
                        handover: row.handover,
                        isAccepted: row.isAccepted,
                    )
                )
            }
        }
        lists[number] = list
        return list
    }

    mutating func holders() -> [WorkerID?] {
        if let allHolders { return allHolders }
        let all = rows.map { row in row.worker.map { names[$0] } }
        allHolders = all
        return all
    }

    // MARK: Changes

    /// - Parameter handover: the cursors that go with it; nil: those that it came with.
    mutating func free(_ shard: Int, handover: Int64?, raising: Bool) {
        guard let number = rows[shard].worker else { return }
        if let handover { rows[shard].handover = handover }
        rows[shard].previous = number
        rows[shard].worker = nil
        rows[shard].isAccepted = false
        if raising { rows[shard].epoch += 1 }
        counts[number] -= 1
        lists[number] = nil
        allHolders = nil
    }

    /// Gives free shards; their epochs rise.
    mutating func give(_ moves: [(shard: Int, to: WorkerID)]) {
        var known: [(worker: WorkerID, number: Int)] = []
        for (shard, worker) in moves {
            let number =
                known.first { $0.worker == worker }?.number
                ?? {
                    known.append((worker, enter(worker)))
                    return known[known.count - 1].number
                }()
            rows[shard].worker = number
            rows[shard].epoch += 1
            rows[shard].isAccepted = false
            counts[number] += 1
            lists[number] = nil
        }
        if !moves.isEmpty { allHolders = nil }
    }

    mutating func accept(_ shard: Int) {
        rows[shard].isAccepted = true
        rows[shard].handover = nil
        if let number = rows[shard].worker { lists[number] = nil }
    }

    private mutating func enter(_ worker: WorkerID) -> Int {
        if let number = numbers[worker] { return number }
        let number = names.count
        names.append(worker)
        counts.append(0)
        lists.append(nil)
        numbers[worker] = number
        return number
    }
}
