/// A queue in an array. Taking from the front is amortised O(1).
struct FIFO<Element> {
    private var slots: [Element?] = []
    private var head = 0

    var count: Int { slots.count - head }
    var isEmpty: Bool { head == slots.count }
    var first: Element? { isEmpty ? nil : slots[head] }
    var last: Element? { isEmpty ? nil : slots[slots.count - 1] }

    mutating func append(_ element: Element) { slots.append(element) }

    /// O(n) when nothing was taken before.
    mutating func prepend(_ element: Element) {
        if head == 0 {
            slots.insert(element, at: 0)
        } else {
            head -= 1
            slots[head] = element
        }
    }

    mutating func popFirst() -> Element? {
        if isEmpty { return nil }
        let element = slots[head]
        slots[head] = nil
        head += 1
        if head == slots.count {
            slots.removeAll(keepingCapacity: head <= 1_024)
            head = 0
        } else if head >= 64, head * 2 >= slots.count {
            slots.removeFirst(head)
            head = 0
        }
        return element
    }

    mutating func updateLast(_ change: (inout Element) -> Void) {
        guard !isEmpty, var element = slots[slots.count - 1] else { return }
        change(&element)
        slots[slots.count - 1] = element
    }

    func contains(where test: (Element) -> Bool) -> Bool {
        slots[head...].contains { slot in slot.map(test) ?? false }
    }

    func forEach(_ body: (Element) -> Void) {
        for case let element? in slots[head...] { body(element) }
    }
}
