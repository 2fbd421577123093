// Many mergeable heaps of trailing watches over one array of nodes, the smallest callback on top.
//
// Leftist heaps: the right spine of n nodes has at most log2(n + 1) of them, so melding, popping and removing from the
// middle are O(log n) in the worst case, not only amortised (a pairing heap would stall the tick that pops first after a
// million arms at one price). A heap is named by its root, `none` is the empty one. 25 bytes per node.
// Invariants: a child's callback is not smaller than its parent's; rank(left) >= rank(right); a root's parent is `none`.

struct CallbackHeaps: Sendable {
    static let none = UInt32.max

    struct Node: Sendable {
        var callback: Int64
        var left: UInt32
        var right: UInt32
        var parent: UInt32
        /// The group in which the watch was armed; merged groups forward (see `TrailingWatches`).
        var group: UInt32
    }

    private(set) var nodes: [Node] = []
    /// Nodes on the right spine. Apart from the nodes because melding reads both children's ranks at every step.
    private var ranks: [UInt8] = []

    var footprint: Int { nodes.capacity * MemoryLayout<Node>.stride + ranks.capacity }

    mutating func reserve(_ additional: Int) {
        nodes.makeRoom(additional)
        ranks.makeRoom(additional)
    }

    /// Makes `slot` a heap of its own. Slots are admitted in order.
    mutating func place(_ slot: Int, callback: Int64, group: Int) {
        let node = Node(
            callback: callback,
            left: Self.none,
            right: Self.none,
            parent: Self.none,
            group: UInt32(group),
        )
        if slot == nodes.count {
            nodes.makeRoom()
            ranks.makeRoom()
            nodes.append(node)
            ranks.append(1)
        } else {
            nodes[slot] = node
            ranks[slot] = 1
        }
    }

    mutating func move(_ slot: Int, toGroup group: Int) { nodes[slot].group = UInt32(group) }

    func callback(of slot: UInt32) -> Int64 { nodes[Int(slot)].callback }
    func group(of slot: Int) -> Int { Int(nodes[slot].group) }
    func isRoot(_ slot: Int) -> Bool { nodes[slot].parent == Self.none }

    /// Joins two heaps; of equal callbacks the one in `first` stays on top.
    mutating func meld(_ first: UInt32, _ second: UInt32) -> UInt32 {
        if first == Self.none { return second }
        if second == Self.none { return first }
        return Self.meld(first, second, &nodes, &ranks)
    }

    private static func meld(
        _ first: UInt32,
        _ second: UInt32,
        _ nodes: inout [Node],
        _ ranks: inout [UInt8],
    ) -> UInt32 {
        var nodes = nodes.mutableSpan
        var ranks = ranks.mutableSpan
        var top = first
        var other = second
        if nodes[Int(other)].callback < nodes[Int(top)].callback { swap(&top, &other) }
        let root = top
        // Down both right spines, always going on with the smaller callback.
        while true {
            let right = nodes[Int(top)].right
            if right == none {
                nodes[Int(top)].right = other
                nodes[Int(other)].parent = top
                break
            }
            if nodes[Int(other)].callback < nodes[Int(right)].callback {
                nodes[Int(top)].right = other
                nodes[Int(other)].parent = top
                top = other
                other = right
            } else {
                top = right
            }
        }
        // Up again, restoring the ranks.
        while true {
            let left = nodes[Int(top)].left
            let right = nodes[Int(top)].right
            let rightRank = ranks[Int(right)]
            let leftRank = left == none ? 0 : ranks[Int(left)]
            if leftRank < rightRank {
                nodes[Int(top)].left = right
                nodes[Int(top)].right = left
                ranks[Int(top)] = leftRank + 1
            } else {
                ranks[Int(top)] = rightRank + 1
            }
            if top == root { return root }
            top = nodes[Int(top)].parent
        }
    }

    /// Takes the root off and returns the heap that is left.
    mutating func pop(_ root: UInt32) -> UInt32 {
        let (left, right) = detachChildren(root)
        return meld(left, right)
    }

    /// Takes a node that is no root out of its heap.
    mutating func removeInner(_ slot: UInt32) {
        let parent = nodes[Int(slot)].parent
        let (left, right) = detachChildren(slot)
        let rest = meld(left, right)
        if rest != Self.none { nodes[Int(rest)].parent = parent }
        if nodes[Int(parent)].left == slot { nodes[Int(parent)].left = rest } else { nodes[Int(parent)].right = rest }
        var at = parent
        // Ranks that change grow by one per step, so this ends after O(log n) steps.
        while at != Self.none {
            let left = nodes[Int(at)].left
            let right = nodes[Int(at)].right
            let leftRank = left == Self.none ? 0 : ranks[Int(left)]
            let rightRank = right == Self.none ? 0 : ranks[Int(right)]
            if leftRank < rightRank {
                nodes[Int(at)].left = right
                nodes[Int(at)].right = left
            }
            let rank = min(leftRank, rightRank) + 1
            guard rank != ranks[Int(at)] else { return }
            ranks[Int(at)] = rank
            at = nodes[Int(at)].parent
        }
    }

    /// Makes the children of a node heaps of their own. The node itself is not changed.
    mutating func detachChildren(_ slot: UInt32) -> (left: UInt32, right: UInt32) {
        let (left, right) = (nodes[Int(slot)].left, nodes[Int(slot)].right)
        if left != Self.none { nodes[Int(left)].parent = Self.none }
        if right != Self.none { nodes[Int(right)].parent = Self.none }
        return (left, right)
    }

    /// Makes one heap of single nodes that are sorted by callback: a chain of left children, which pops without melding.
    /// O(n).
    mutating func build(sorted slots: ArraySlice<SortedLevels.Entry>) -> UInt32 {
        var next = Self.none
        for entry in slots.reversed() {
            nodes[Int(entry.number)].left = next
            if next != Self.none { nodes[Int(next)].parent = entry.number }
            next = entry.number
        }
        return next
    }
}

// MARK: Invariants

extension CallbackHeaps {
    /// What is wrong with the heap under `root`, for tests; visits its nodes. O(n).
    func brokenInvariant(under root: UInt32, visit: (Int) -> Void) -> String? {
        guard isRoot(Int(root)) else { return "root \(root) has a parent" }
        var open = [root]
        while let slot = open.popLast() {
            let node = nodes[Int(slot)]
            visit(Int(slot))
            for child in [node.left, node.right] where child != Self.none {
                guard nodes[Int(child)].parent == slot else { return "parent of \(child)" }
                guard nodes[Int(child)].callback >= node.callback else { return "heap order at \(child)" }
                open.append(child)
            }
            let left = node.left == Self.none ? 0 : ranks[Int(node.left)]
            let right = node.right == Self.none ? 0 : ranks[Int(node.right)]
            guard left >= right, ranks[Int(slot)] == right + 1 else { return "rank of \(slot)" }
        }
        return nil
    }
}
