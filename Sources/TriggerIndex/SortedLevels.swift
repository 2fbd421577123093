// An ordered multimap from price level to a dense number, drained from its greatest end.
//
// A list of blocks, each sorted and at most `blockCapacity` long, found through a sorted directory of their greatest
// keys: a two-level B-tree with its leaves in flat arrays. Every number is in the map at most once.
// Invariants: keys ascend through the blocks; `greatest[i]` is the last key of block `order[i]`; no block is empty;
// `blockOf[n]` is right for every number in the map. Among equal keys the one that was inserted first leaves first.
// Cost: pop O(1); insert, remove, find O(log n + blockCapacity), and one move of the directory (12 bytes per block,
// n / 90 blocks or so) per split or vanished block, that is about once in 64 inserts. 16 to 22 bytes per entry.

struct SortedLevels: Sendable {
    static let blockCapacity = 128
    /// What a bulk build leaves free, so that the first inserts do not split every block.
    private static let bulkFill = 112
    private static let mergeBelow = 32
    private static let mergeUpTo = 96

    private var keys: [Int64] = []
    private var numbers: [UInt32] = []
    private var counts: [UInt8] = []
    private var freeBlocks: [UInt32] = []
    private var order: [UInt32] = []
    private var greatest: [Int64] = []
    private var blockOf: [UInt32] = []
    private(set) var count = 0
    /// `Int64.min` when empty.
    private(set) var greatestKey = Int64.min

    var isEmpty: Bool { count == 0 }
    var footprint: Int {
        (keys.capacity + greatest.capacity) * 8 + (numbers.capacity + blockOf.capacity) * 4 + counts.capacity
            + (freeBlocks.capacity + order.capacity) * 4
    }

    /// The number with the greatest key that came first. Traps when empty.
    var last: UInt32 {
        let block = Int(order[order.count - 1])
        return numbers[block * Self.blockCapacity + Int(counts[block]) - 1]
    }

    /// Makes room for numbers below `limit`.
    mutating func admit(numbersBelow limit: Int) {
        guard blockOf.count < limit else { return }
        blockOf.makeRoom(limit - blockOf.count)
        while blockOf.count < limit { blockOf.append(0) }
    }

    mutating func insert(_ key: Int64, _ number: Int) {
        admit(numbersBelow: number + 1)
        var position = firstPosition(reaching: key)
        if position == order.count {
            if position == 0 || Int(counts[Int(order[position - 1])]) == Self.blockCapacity {
                let block = makeBlock()
                order.append(UInt32(block))
                greatest.append(key)
            } else {
                position -= 1
            }
        } else if Int(counts[Int(order[position])]) == Self.blockCapacity {
            split(position)
            if key > greatest[position] { position += 1 }
        }
        let block = Int(order[position])
        let start = block * Self.blockCapacity
        let end = start + Int(counts[block])
        let index = firstIndex(reaching: key, from: start, to: end)
        keys.shiftUp(from: index, to: end)
        numbers.shiftUp(from: index, to: end)
        keys[index] = key
        numbers[index] = UInt32(number)
        counts[block] += 1
        blockOf[number] = UInt32(block)
        if index == end { greatest[position] = key }
        count += 1
        if key > greatestKey { greatestKey = key }
    }

    /// Removes the entry that `last` names and returns its number. Traps when empty.
    mutating func popLast() -> Int {
        let position = order.count - 1
        let block = Int(order[position])
        let index = block * Self.blockCapacity + Int(counts[block]) - 1
        let number = Int(numbers[index])
        counts[block] -= 1
        count -= 1
        if counts[block] > 0 {
            greatestKey = keys[index - 1]
            greatest[position] = greatestKey
        } else {
            dropBlock(at: position)
        }
        return number
    }

    /// Removes a number that is in the map.
    mutating func remove(_ number: Int) {
        let block = Int(blockOf[number])
        let index = index(of: number)
        let key = keys[index]
        let start = block * Self.blockCapacity
        let end = start + Int(counts[block])
        keys.shiftDown(to: index, end: end)
        numbers.shiftDown(to: index, end: end)
        counts[block] -= 1
        count -= 1
        let left = end - start - 1
        guard index == end - 1 || left < Self.mergeBelow else { return }
        let position = position(of: block, holding: key)
        guard left > 0 else { return dropBlock(at: position) }
        greatest[position] = keys[start + left - 1]
        if position == order.count - 1 { greatestKey = greatest[position] }
        if left < Self.mergeBelow { mergeWithNeighbour(position) }
    }

    /// The key of a number that is in the map.
    func key(of number: Int) -> Int64 { keys[index(of: number)] }

    /// A number under exactly this key.
    func find(_ key: Int64) -> Int? {
        let position = firstPosition(reaching: key)
        guard position < order.count else { return nil }
        let start = Int(order[position]) * Self.blockCapacity
        let index = firstIndex(reaching: key, from: start, to: start + Int(counts[Int(order[position])]))
        return keys[index] == key ? Int(numbers[index]) : nil
    }

    /// Adds many entries. O((n + m) log m): where they are few against what is there, one by one, else by a rebuild.
    mutating func insert(contentsOf entries: [Entry]) {
        guard let highest = entries.max(by: { $0.number < $1.number }) else { return }
        admit(numbersBelow: Int(highest.number) + 1)
        if entries.count < count / 16 {
            for entry in entries { insert(entry.key, Int(entry.number)) }
            return
        }
        // Later entries first, the ones that are there last: the stable sort then leaves the oldest of equal keys at
        // the end, where it is drained first.
        var all: [Entry] = []
        all.reserveCapacity(count + entries.count)
        all.append(contentsOf: entries.reversed())
        for block in order {
            let start = Int(block) * Self.blockCapacity
            for index in start..<start + Int(counts[Int(block)]) {
                all.append(Entry(key: keys[index], number: numbers[index]))
            }
        }
        rebuild(sortedByKey(all))
    }

    struct Entry: Sendable {
        let key: Int64
        let number: UInt32
    }

    private mutating func rebuild(_ entries: [Entry]) {
        let blocks = (entries.count + Self.bulkFill - 1) / Self.bulkFill
        keys = Array(repeating: 0, count: blocks * Self.blockCapacity)
        numbers = Array(repeating: 0, count: blocks * Self.blockCapacity)
        counts = Array(repeating: 0, count: blocks)
        freeBlocks = []
        order = (0..<UInt32(blocks)).map(\.self)
        greatest = Array(repeating: 0, count: blocks)
        for block in 0..<blocks {
            let from = block * Self.bulkFill
            let to = min(from + Self.bulkFill, entries.count)
            var index = block * Self.blockCapacity
            for entry in from..<to {
                keys[index] = entries[entry].key
                numbers[index] = entries[entry].number
                blockOf[Int(entries[entry].number)] = UInt32(block)
                index += 1
            }
            counts[block] = UInt8(to - from)
            greatest[block] = entries[to - 1].key
        }
        count = entries.count
        greatestKey = greatest.last ?? .min
    }

    // MARK: Search

    /// The first block whose greatest key is at least `key`; `order.count` when there is none.
    private func firstPosition(reaching key: Int64) -> Int {
        let span = greatest.span
        var low = 0
        var size = span.count
        while size > 0 {
            let half = size >> 1
            let isBelow = span[low + half] < key
            low = isBelow ? low + half + 1 : low
            size = isBelow ? size - half - 1 : half
        }
        return low
    }

    private func firstIndex(reaching key: Int64, from start: Int, to end: Int) -> Int {
        let span = keys.span
        var low = start
        var size = end - start
        while size > 0 {
            let half = size >> 1
            let isBelow = span[low + half] < key
            low = isBelow ? low + half + 1 : low
            size = isBelow ? size - half - 1 : half
        }
        return low
    }

    private func index(of number: Int) -> Int {
        let block = Int(blockOf[number])
        let start = block * Self.blockCapacity
        let end = start + Int(counts[block])
        let span = numbers.span
        let wanted = UInt32(number)
        var index = start
        while index < end, span[index] != wanted { index += 1 }
        precondition(index < end, "the number is not in the map")
        return index
    }

    private func position(of block: Int, holding key: Int64) -> Int {
        // Blocks full of one key have equal greatest keys: walk on to the right one.
        var position = firstPosition(reaching: key)
        while Int(order[position]) != block { position += 1 }
        return position
    }

    // MARK: Blocks

    private mutating func makeBlock() -> Int {
        if let block = freeBlocks.popLast() {
            counts[Int(block)] = 0
            return Int(block)
        }
        let block = counts.count
        counts.append(0)
        keys.makeRoom(Self.blockCapacity)
        numbers.makeRoom(Self.blockCapacity)
        for _ in 0..<Self.blockCapacity {
            keys.append(0)
            numbers.append(0)
        }
        return block
    }

    private mutating func dropBlock(at position: Int) {
        freeBlocks.append(order[position])
        order.remove(at: position)
        greatest.remove(at: position)
        greatestKey = greatest.last ?? .min
    }

    private mutating func split(_ position: Int) {
        let block = Int(order[position])
        let fresh = makeBlock()
        let half = Self.blockCapacity / 2
        let from = block * Self.blockCapacity + half
        let to = fresh * Self.blockCapacity
        for offset in 0..<half {
            keys[to + offset] = keys[from + offset]
            numbers[to + offset] = numbers[from + offset]
            blockOf[Int(numbers[from + offset])] = UInt32(fresh)
        }
        counts[block] = UInt8(half)
        counts[fresh] = UInt8(half)
        order.insert(UInt32(fresh), at: position + 1)
        greatest.insert(greatest[position], at: position + 1)
        greatest[position] = keys[from - 1]
    }

    /// Joins a thin block with the next one, or with the one before when it is the last, if both fit well into one.
    private mutating func mergeWithNeighbour(_ position: Int) {
        guard order.count > 1 else { return }
        let lower = position + 1 < order.count ? position : position - 1
        let into = Int(order[lower])
        let from = Int(order[lower + 1])
        let (kept, moved) = (Int(counts[into]), Int(counts[from]))
        guard kept + moved <= Self.mergeUpTo else { return }
        for offset in 0..<moved {
            let target = into * Self.blockCapacity + kept + offset
            keys[target] = keys[from * Self.blockCapacity + offset]
            numbers[target] = numbers[from * Self.blockCapacity + offset]
            blockOf[Int(numbers[target])] = UInt32(into)
        }
        counts[into] = UInt8(kept + moved)
        greatest[lower] = greatest[lower + 1]
        dropBlock(at: lower + 1)
    }
}

// MARK: Invariants

extension SortedLevels {
    /// What is wrong with the structure, for tests. O(n).
    func brokenInvariant() -> String? {
        var seen = 0
        var previous = Int64.min
        for (position, block) in order.enumerated() {
            let start = Int(block) * Self.blockCapacity
            let size = Int(counts[Int(block)])
            guard size > 0, size <= Self.blockCapacity else { return "block \(block) holds \(size)" }
            for index in start..<start + size {
                guard keys[index] >= previous else { return "keys descend in block \(block)" }
                guard blockOf[Int(numbers[index])] == block else {
                    return "\(numbers[index]) is not where it should be"
                }
                previous = keys[index]
            }
            guard greatest[position] == previous else { return "greatest key of block \(block)" }
            seen += size
        }
        guard seen == count else { return "\(seen) entries, counted \(count)" }
        guard greatestKey == (count == 0 ? .min : previous) else { return "greatest key" }
        guard greatest.count == order.count, order.count + freeBlocks.count == counts.count else { return "blocks" }
        return nil
    }
}

extension Array {
    /// Moves `index..<end` up by one.
    @inline(__always)
    fileprivate mutating func shiftUp(from index: Int, to end: Int) {
        var span = mutableSpan
        var at = end
        while at > index {
            span[at] = span[at - 1]
            at -= 1
        }
    }

    /// Moves `index + 1..<end` down by one.
    @inline(__always)
    fileprivate mutating func shiftDown(to index: Int, end: Int) {
        var span = mutableSpan
        var at = index
        while at + 1 < end {
            span[at] = span[at + 1]
            at += 1
        }
    }
}

/// A stable sort by key, eight bits at a time; passes over bytes that all keys share are skipped.
func sortedByKey(_ entries: [SortedLevels.Entry]) -> [SortedLevels.Entry] {
    // Small inputs: the passes' tables would cost more than the sort.
    guard entries.count > 512 else {
        return entries.enumerated().sorted { ($0.element.key, $0.offset) < ($1.element.key, $1.offset) }.map(\.element)
    }
    var varying: UInt64 = 0
    for entry in entries { varying |= UInt64(bitPattern: entry.key ^ entries[0].key) }
    var from = entries
    var to = entries
    for shift in stride(from: UInt64(0), to: 64, by: 8) where (varying >> shift) & 0xff != 0 {
        // Flipping the sign bit makes the order of the bits that of the numbers.
        let flip: UInt64 = shift == 56 ? 0x80 : 0
        var starts = [Int](repeating: 0, count: 257)
        for entry in from { starts[Int((UInt64(bitPattern: entry.key) >> shift) & 0xff ^ flip) + 1] += 1 }
        for digit in 0..<256 { starts[digit + 1] += starts[digit] }
        for entry in from {
            let digit = Int((UInt64(bitPattern: entry.key) >> shift) & 0xff ^ flip)
            to[starts[digit]] = entry
            starts[digit] += 1
        }
        swap(&from, &to)
    }
    return from
}
