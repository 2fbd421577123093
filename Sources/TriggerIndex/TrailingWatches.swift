// The trailing watches of one direction and one kind of callback, in the mirrored space of `WatchClass`: each follows
// the highest price and fires when the price falls to its threshold.
//
// Watches that share an extreme form a group: a heap by callback, whose top has the group's highest threshold. When the
// price rises to or past the extremes of some groups, these become one group with the price as its extreme: a meld per
// group, no visit per watch. The group with the lowest extreme (the leader) is the one that moves with the market; it
// is kept apart, so that a new high costs one multiplication. All others stand still, like fixed watches: they are
// sorted by extreme (who merges next) and by the threshold of their top (who fires next).
// Merged groups forward to the one that they became (union by rank), so a watch finds its extreme in O(log n).
// Invariants: groups have distinct extremes; no group is empty; the leader's extreme is below all others'.
// Cost: arm, disarm, one firing, one merge: O(log n). A tick that fires and raises nothing: nothing, see `bound` and
// `lowestExtreme`. 37 bytes per watch and at most 85 per group.

struct TrailingWatches: Sendable {
    private static let none = UInt32.max

    private struct Group: Sendable {
        var extreme: Int64
        /// Root of the heap; `none` once merged.
        var root: UInt32
        /// The group that it became, or `none`.
        var forward: UInt32
        /// Watches that were armed in it and still are, and groups that forward to it.
        var references: UInt32
        var rank: UInt32
    }

    private let rule: TrailingRule
    private let isRate: Bool
    private(set) var slots = SlotTable()
    private var heaps = CallbackHeaps()
    private var groups: [Group] = []
    private var freeGroups: [UInt32] = []
    /// All groups but the leader, by negated extreme: the lowest extreme is drained first.
    private var byExtreme = SortedLevels()
    /// All groups but the leader, by the threshold of their root.
    private var byThreshold = SortedLevels()
    private var leader = Self.none
    private var leaderThreshold = Int64.min

    /// Scratch of `fire`, empty between calls: roots to look at, and roots that do not fire.
    private var open: [UInt32] = []
    private var hanging: [UInt32] = []

    /// The highest threshold: a price at or below it fires something.
    var bound: Int64 { max(leaderThreshold, byThreshold.greatestKey) }
    /// A price above it moves a threshold. `Int64.max` when nothing is armed.
    private(set) var lowestExtreme = Int64.max

    var footprint: Int {
        slots.footprint + heaps.footprint + groups.capacity * MemoryLayout<Group>.stride
            + (freeGroups.capacity + open.capacity + hanging.capacity) * 4 + byExtreme.footprint + byThreshold.footprint
    }

    /// Groups of watches with one extreme.
    var groupCount: Int { byExtreme.count + (leader == Self.none ? 0 : 1) }

    init(rule: TrailingRule, isRate: Bool) {
        self.rule = rule
        self.isRate = isRate
    }

    // MARK: Arming

    mutating func arm(_ callback: Int64, extreme: Int64, tag: UInt64) -> (slot: Int, generation: UInt32) {
        let place = slots.take(tag: tag)
        let group = group(at: extreme)
        heaps.place(place.slot, callback: callback, group: group)
        groups[group].references += 1
        add(UInt32(place.slot), to: group)
        return place
    }

    /// A trailing watch to be, for `arm` of many.
    struct Start: Sendable {
        let callback: Int64
        let extreme: Int64
        let tag: UInt64
    }

    /// Arms many at once; the places are in the order of `starts`. O(n) apart from O(log n) per distinct extreme.
    mutating func arm(_ starts: [Start]) -> [(slot: Int, generation: UInt32)] {
        slots.reserve(starts.count)
        heaps.reserve(starts.count)
        let places = starts.map { slots.take(tag: $0.tag) }
        for (start, place) in zip(starts, places) { heaps.place(place.slot, callback: start.callback, group: 0) }
        // Two stable sorts: by callback, then by extreme.
        let byCallback = sortedByKey(
            starts.indices.map { SortedLevels.Entry(key: starts[$0].callback, number: UInt32($0)) }
        )
        let sorted = sortedByKey(
            byCallback.map { SortedLevels.Entry(key: starts[Int($0.number)].extreme, number: $0.number) }
        )
        let entries = sorted.map { SortedLevels.Entry(key: $0.key, number: UInt32(places[Int($0.number)].slot)) }
        // From the highest extreme down, so that each becomes the leader in its turn.
        var end = entries.count
        while end > 0 {
            var from = end - 1
            while from > 0, entries[from - 1].key == entries[from].key { from -= 1 }
            let group = group(at: entries[from].key)
            for entry in entries[from..<end] { heaps.move(Int(entry.number), toGroup: group) }
            groups[group].references += UInt32(end - from)
            add(heaps.build(sorted: entries[from..<end]), to: group)
            end = from
        }
        return places
    }

    /// The group with this extreme, made when there is none. A new one is empty until `add`.
    private mutating func group(at extreme: Int64) -> Int {
        if extreme == lowestExtreme, leader != Self.none { return Int(leader) }
        if extreme > lowestExtreme, let group = byExtreme.find(-extreme) { return group }
        let fresh = Group(extreme: extreme, root: CallbackHeaps.none, forward: Self.none, references: 0, rank: 0)
        let group: Int
        if let free = freeGroups.popLast() {
            group = Int(free)
            groups[group] = fresh
        } else {
            group = groups.count
            groups.append(fresh)
        }
        if extreme > lowestExtreme {
            byExtreme.insert(-extreme, group)
            return group
        }
        if leader != Self.none {
            byExtreme.insert(-lowestExtreme, Int(leader))
            byThreshold.insert(leaderThreshold, Int(leader))
        }
        leader = UInt32(group)
        leaderThreshold = .min
        lowestExtreme = extreme
        return group
    }

    private mutating func add(_ heap: UInt32, to group: Int) {
        let before = groups[group].root
        let root = heaps.meld(before, heap)
        guard root != before else { return }
        groups[group].root = root
        if group == leader {
            leaderThreshold = threshold(groups[group].extreme, root)
        } else {
            if before != CallbackHeaps.none { byThreshold.remove(group) }
            byThreshold.insert(threshold(groups[group].extreme, root), group)
        }
    }

    mutating func disarm(_ slot: Int) {
        let origin = heaps.group(of: slot)
        if heaps.isRoot(slot) {
            let group = currentGroup(from: origin)
            if group != leader { byThreshold.remove(group) }
            settle(group, root: heaps.pop(UInt32(slot)))
        } else {
            heaps.removeInner(UInt32(slot))
        }
        dropReference(origin)
        _ = slots.release(slot)
    }

    // MARK: Reading

    func extreme(of slot: Int) -> Int64 { groups[currentGroup(from: heaps.group(of: slot))].extreme }

    func threshold(of slot: Int) -> Int64 { threshold(extreme(of: slot), UInt32(slot)) }

    @inline(__always)
    private func threshold(_ extreme: Int64, _ slot: UInt32) -> Int64 {
        let callback = heaps.callback(of: slot)
        return isRate
            ? rule.mirroredThreshold(extreme, rate: callback) : rule.mirroredThreshold(extreme, amount: callback)
    }

    private func currentGroup(from origin: Int) -> Int {
        var group = origin
        while groups[group].forward != Self.none { group = Int(groups[group].forward) }
        return group
    }

    // MARK: A tick

    /// Takes out every watch that `price` reaches, then lets the extremes follow it. The old thresholds are tested
    /// before any extreme moves (ORDERS.md R3.3). The order of the crossings is a function of the calls so far.
    mutating func advance(to price: Int64, _ kind: WatchClass, _ crossings: inout [Crossing]) {
        while leaderThreshold >= price { fire(Int(leader), at: price, kind, &crossings) }
        while byThreshold.greatestKey >= price { fire(byThreshold.popLast(), at: price, kind, &crossings) }
        if price > lowestExtreme, leader != Self.none { raise(to: price) }
    }

    /// Fires what `price` reaches in a group that is the leader or was just taken out of `byThreshold`.
    ///
    /// What fires is the top of the heap: it is cut off, and the trees that hang below are melded in pairs. In a gap
    /// that is far cheaper than popping one by one.
    private mutating func fire(_ group: Int, at price: Int64, _ kind: WatchClass, _ crossings: inout [Crossing]) {
        let extreme = groups[group].extreme
        open.append(groups[group].root)
        while let root = open.popLast() {
            let level = threshold(extreme, root)
            guard level >= price else {
                hanging.append(root)
                continue
            }
            let (left, right) = heaps.detachChildren(root)
            if left != CallbackHeaps.none { open.append(left) }
            if right != CallbackHeaps.none { open.append(right) }
            let slot = Int(root)
            dropReference(heaps.group(of: slot))
            let (tag, generation) = slots.release(slot)
            crossings.append(
                Crossing(
                    tag: tag,
                    handle: WatchHandle(kind: kind, slot: slot, generation: generation),
                    threshold: kind.sign * level,
                    extreme: kind.sign * extreme,
                )
            )
        }
        var melded = 0
        while melded + 1 < hanging.count {
            hanging.append(heaps.meld(hanging[melded], hanging[melded + 1]))
            melded += 2
        }
        settle(group, root: hanging.last ?? CallbackHeaps.none)
        hanging.removeAll(keepingCapacity: true)
    }

    /// Gives a group its new root. A group that has none left leaves; its number may be free already, but nothing makes
    /// a group in between.
    private mutating func settle(_ group: Int, root: UInt32) {
        groups[group].root = root
        switch (group == leader, root == CallbackHeaps.none) {
        case (true, false): leaderThreshold = threshold(groups[group].extreme, root)
        case (false, false): byThreshold.insert(threshold(groups[group].extreme, root), group)
        case (false, true): byExtreme.remove(group)
        case (true, true): promoteNextLeader()
        }
    }

    private mutating func promoteNextLeader() {
        guard !byExtreme.isEmpty else {
            leader = Self.none
            leaderThreshold = .min
            lowestExtreme = .max
            return
        }
        let group = byExtreme.popLast()
        leaderThreshold = byThreshold.key(of: group)
        byThreshold.remove(group)
        leader = UInt32(group)
        lowestExtreme = groups[group].extreme
    }

    /// Makes one leader of all groups whose extreme is at most `price`.
    private mutating func raise(to price: Int64) {
        var united = Int(leader)
        while !byExtreme.isEmpty, -byExtreme.greatestKey <= price {
            let group = byExtreme.popLast()
            byThreshold.remove(group)
            united = unite(united, group)
        }
        groups[united].extreme = price
        leader = UInt32(united)
        lowestExtreme = price
        leaderThreshold = threshold(price, groups[united].root)
    }

    private mutating func unite(_ first: Int, _ second: Int) -> Int {
        let root = heaps.meld(groups[first].root, groups[second].root)
        let (kept, merged) = groups[first].rank < groups[second].rank ? (second, first) : (first, second)
        if groups[kept].rank == groups[merged].rank { groups[kept].rank += 1 }
        groups[kept].root = root
        groups[kept].references += 1
        groups[merged].root = CallbackHeaps.none
        groups[merged].forward = UInt32(kept)
        return kept
    }

    /// Frees a group that nothing refers to any more, and what it forwarded to if that was the last.
    private mutating func dropReference(_ group: Int) {
        var group = group
        while true {
            groups[group].references -= 1
            guard groups[group].references == 0 else { return }
            freeGroups.append(UInt32(group))
            guard groups[group].forward != Self.none else { return }
            group = Int(groups[group].forward)
        }
    }
}

// MARK: Invariants

extension TrailingWatches {
    /// What is wrong with the structure, for tests. O(n).
    func brokenInvariant() -> String? {
        if let broken = byExtreme.brokenInvariant() ?? byThreshold.brokenInvariant() { return broken }
        guard byExtreme.count == byThreshold.count else { return "groups by extreme and by threshold" }
        guard open.isEmpty, hanging.isEmpty else { return "scratch is left" }
        guard (leader == Self.none) == (slots.count == 0) else { return "no leader" }
        let freed = Set(freeGroups.map(Int.init))
        var references = [UInt32](repeating: 0, count: groups.count)
        var extremes: Set<Int64> = []
        var members = 0
        for group in groups.indices where !freed.contains(group) {
            let record = groups[group]
            if record.forward != Self.none {
                references[Int(record.forward)] += 1
                guard groups[Int(record.forward)].rank > record.rank else { return "rank of group \(group)" }
                continue
            }
            guard record.root != CallbackHeaps.none else { return "group \(group) is empty" }
            guard extremes.insert(record.extreme).inserted else { return "two groups at \(record.extreme)" }
            var isAstray = false
            let broken = heaps.brokenInvariant(under: record.root) { slot in
                references[heaps.group(of: slot)] += 1
                members += 1
                if currentGroup(from: heaps.group(of: slot)) != group { isAstray = true }
            }
            if let broken { return broken }
            if isAstray { return "a member of group \(group) does not find it" }
            let level = threshold(record.extreme, record.root)
            if group == leader {
                guard record.extreme == lowestExtreme, level == leaderThreshold else { return "leader" }
            } else {
                guard record.extreme > lowestExtreme else { return "group \(group) is below the leader" }
                guard byExtreme.key(of: group) == -record.extreme else { return "extreme of group \(group)" }
                guard byThreshold.key(of: group) == level else { return "threshold of group \(group)" }
            }
        }
        guard members == slots.count, extremes.count == groupCount else { return "members or groups" }
        for group in groups.indices where !freed.contains(group) && references[group] != groups[group].references {
            return "references of group \(group)"
        }
        return nil
    }
}
