// When each order's next timer, or next question about it, is due. A binary heap with lazy removal.
internal import SmartOrders

/// Due times by order. O(log n) per change.
struct TimerHeap {
    private var heap: [(due: Timestamp, id: OrderID)] = []
    private var dueByID: [OrderID: Timestamp] = [:]

    mutating func set(_ id: OrderID, _ due: Timestamp) {
        dueByID[id] = due
        push(id, due)
        // Entries of orders that changed often must not outnumber the orders.
        guard heap.count > 64, heap.count > 2 * dueByID.count else { return }
        heap = []
        for (id, due) in dueByID.sorted(by: { ($0.value, $0.key) < ($1.value, $1.key) }) { push(id, due) }
    }

    private mutating func push(_ id: OrderID, _ due: Timestamp) {
        heap.append((due, id))
        var child = heap.count - 1
        while child > 0, heap[child].due < heap[(child - 1) / 2].due {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func remove(_ id: OrderID) {
        dueByID[id] = nil
    }

    /// Takes out orders whose time has come, the oldest first.
    mutating func due(at now: Timestamp, limit: Int = .max) -> [OrderID] {
        var due: [OrderID] = []
        while due.count < limit, let first = heap.first, first.due <= now {
            removeFirst()
            // An entry that was replaced or removed meanwhile is skipped.
            guard dueByID[first.id] == first.due else { continue }
            dueByID[first.id] = nil
            due.append(first.id)
        }
        return due
    }

    private mutating func removeFirst() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].due < heap[least].due
            {
                least = child
            }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
