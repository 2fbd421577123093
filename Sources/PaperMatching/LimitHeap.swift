// Resting orders of one side, the one that a price reaches first on top. A cancelled order's entry stays until it
// surfaces or the heap is compacted: an entry is live while the book knows its key with the same sequence.

internal import SmartOrders

struct LimitHeap: Sendable {
    struct Entry: Hashable, Sendable {
        let limit: Price
        let sequence: Int
        let key: Int
    }

    private let highestFirst: Bool
    private var entries: [Entry] = []

    init(highestFirst: Bool) { self.highestFirst = highestFirst }

    var count: Int { entries.count }

    mutating func insert(_ entry: Entry) {
        entries.append(entry)
        var child = entries.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard precedes(entries[child], entries[parent]) else { break }
            entries.swapAt(child, parent)
            child = parent
        }
    }

    /// Removes the entries whose limit `price` touches and returns the live ones among them, in no order.
    mutating func removeTouched(by price: Price, _ live: [Int: MatchingBook.Resting]) -> [Entry] {
        var touched: [Entry] = []
        while let top = entries.first, highestFirst ? price <= top.limit : price >= top.limit {
            removeTop()
            if live[top.key]?.sequence == top.sequence { touched.append(top) }
        }
        return touched
    }

    /// Drops the entries of orders that no longer rest. O(n log n).
    mutating func compact(_ live: [Int: MatchingBook.Resting]) {
        let kept = entries.filter { live[$0.key]?.sequence == $0.sequence }
        entries.removeAll(keepingCapacity: true)
        for entry in kept { insert(entry) }
    }

    private mutating func removeTop() {
        let last = entries.removeLast()
        guard !entries.isEmpty else { return }
        entries[0] = last
        var parent = 0
        while true {
            var first = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < entries.count {
                if precedes(entries[child], entries[first]) { first = child }
            }
            if first == parent { return }
            entries.swapAt(parent, first)
            parent = first
        }
    }

    private func precedes(_ left: Entry, _ right: Entry) -> Bool {
        if left.limit != right.limit { return highestFirst ? left.limit > right.limit : left.limit < right.limit }
        return left.sequence < right.sequence
    }
}
