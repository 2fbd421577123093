extension Array {
    /// Makes room for `additional` elements, growing by a quarter where `append` alone would double: memory per watch is
    /// what limits how many orders a worker holds.
    @inline(__always)
    mutating func makeRoom(_ additional: Int = 1) {
        if count + additional > capacity { reserveCapacity(count + Swift.max(additional, Swift.max(count / 4, 16))) }
    }
}
