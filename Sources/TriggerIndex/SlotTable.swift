// Dense slots with the caller's tags. A generation tells a slot's present watch from its earlier ones.
//
// Cost: O(1); 12 bytes per slot. A generation is odd while the slot is in use, so a stale handle (an odd number too)
// matches again only after 2^31 uses of one slot.

struct SlotTable: Sendable {
    /// Tag of a used slot; next free slot + 1 of a free one, 0 at the end.
    private var tags: [UInt64] = []
    private var generations: [UInt32] = []
    private var firstFree: UInt64 = 0
    private(set) var count = 0

    static let limit = 1 << 29

    /// Slots that exist, used or free.
    var capacity: Int { tags.count }
    var footprint: Int { tags.capacity * 8 + generations.capacity * 4 }

    mutating func reserve(_ additional: Int) {
        tags.makeRoom(additional)
        generations.makeRoom(additional)
    }

    mutating func take(tag: UInt64) -> (slot: Int, generation: UInt32) {
        count += 1
        guard firstFree > 0 else {
            precondition(tags.count < Self.limit, "too many watches in one index")
            tags.makeRoom()
            generations.makeRoom()
            tags.append(tag)
            generations.append(1)
            return (tags.count - 1, 1)
        }
        let slot = Int(firstFree - 1)
        firstFree = tags[slot]
        tags[slot] = tag
        generations[slot] &+= 1
        return (slot, generations[slot])
    }

    /// Frees a used slot and returns what it held.
    mutating func release(_ slot: Int) -> (tag: UInt64, generation: UInt32) {
        let released = (tag: tags[slot], generation: generations[slot])
        tags[slot] = firstFree
        firstFree = UInt64(slot) + 1
        generations[slot] &+= 1
        count -= 1
        return released
    }

    func isCurrent(_ slot: Int, _ generation: UInt32) -> Bool {
        slot < generations.count && generations[slot] == generation
    }
}
