// Every armed order of the shards that an evaluator holds, by id and by slot; the slot is what the index carries.
//
// Rows lie side by side and the dictionary holds numbers only: a million orders load without moving what they consist of.
// Cost: O(1); about 200 bytes an order with one watch, without its strings, which the rows of a market share.
internal import SmartOrders
internal import TriggerIndex

/// One armed order.
struct ArmedEntry {
    var armed: ArmedOrder
    /// While a crossing is open: those of its stops, where it is none of a stop itself.
    var handles = WatchHandles()
    var open: OpenCrossing?
}

/// A crossing whose order has not moved on in PostgreSQL yet. Confined to the evaluating task.
final class OpenCrossing {
    /// As offered last.
    var job: Job
    /// Position of the last tick before it: the cursor stays there.
    let before: TickPosition
    var nextOffer: Int64
    var offers = 1

    init(job: Job, before: TickPosition, nextOffer: Int64) {
        self.job = job
        self.before = before
        self.nextOffer = nextOffer
    }
}

/// The watches of one order in the index, by their numbers in its row. Most have one, which needs no array.
struct WatchHandles {
    private var first: (handle: WatchHandle, number: UInt8)?
    private var rest: [(handle: WatchHandle, number: UInt8)] = []

    var isEmpty: Bool { first == nil }

    mutating func append(_ handle: WatchHandle, number: UInt8) {
        if first == nil { first = (handle, number) } else { rest.append((handle, number)) }
    }

    func forEach(_ body: (WatchHandle, UInt8) -> Void) {
        if let first { body(first.handle, first.number) }
        for (handle, number) in rest { body(handle, number) }
    }
}

/// Armed orders by id and by slot.
struct ArmedTable {
    private var slotByID: [OrderID: Int32] = [:]
    private var rows: ContiguousArray<ArmedEntry?> = []
    private var free: [Int32] = []

    var count: Int { slotByID.count }

    /// The order as it is kept, nil when it is unknown. Changed in place; `insert` and `remove` bring and take orders.
    subscript(id: OrderID) -> ArmedEntry? {
        get {
            guard let slot = slotByID[id] else { return nil }
            return rows[Int(slot)]
        }
        _modify {
            if let slot = slotByID[id] {
                yield &rows[Int(slot)]
            } else {
                var nothing: ArmedEntry?
                yield &nothing
                precondition(nothing == nil, "an order comes by insert")
            }
        }
    }

    subscript(slot slot: Int) -> ArmedEntry? { rows[slot] }

    /// Returns the order's slot. The order must not be known.
    mutating func insert(_ armed: ArmedOrder) -> Int {
        let slot = free.popLast() ?? Int32(rows.count)
        let previous = slotByID.updateValue(slot, forKey: armed.id)
        precondition(previous == nil, "an order is armed once")
        if Int(slot) == rows.count {
            rows.append(ArmedEntry(armed: armed))
        } else {
            rows[Int(slot)] = ArmedEntry(armed: armed)
        }
        return Int(slot)
    }

    mutating func remove(_ id: OrderID) -> ArmedEntry? {
        guard let slot = slotByID.removeValue(forKey: id) else { return nil }
        free.append(slot)
        defer { rows[Int(slot)] = nil }
        return rows[Int(slot)]
    }

    func slot(of id: OrderID) -> Int? { slotByID[id].map(Int.init) }

    /// - Parameter tag: as the index carries it: the slot, then the number of the watch in eight bits.
    mutating func append(_ handle: WatchHandle, tag: UInt64) {
        rows[Int(tag >> 8)]?.handles.append(handle, number: UInt8(tag & 255))
    }

    /// Ids of the orders that `isWanted` accepts, in no order.
    func ids(where isWanted: (OrderID) -> Bool) -> [OrderID] { slotByID.keys.filter(isWanted) }

    func forEach(_ body: (ArmedEntry) -> Void) {
        for case let entry? in rows { body(entry) }
    }
}
