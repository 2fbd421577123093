// What time it is at a venue, and how well that is known (RELIABILITY.md 3.4).

/// The last five readings; the best of them counts. Ages: a reading is worth 50 ms less each minute.
struct VenueClockReading {
    private struct Reading {
        /// Venue time less local time, microseconds.
        let offset: Int64
        /// Microseconds, when it was read.
        let uncertainty: Int64
        /// Monotonic nanoseconds.
        let at: Int64

        func uncertainty(at now: Int64) -> Int64 { uncertainty + max(0, now - at) / 1_000 * 50_000 / 60_000_000 }
    }

    private static let limit = 5
    private var readings: [Reading] = []

    mutating func note(offset: Int64, uncertainty: Int64, at now: Int64) {
        let new = Reading(offset: offset, uncertainty: uncertainty, at: now)
        // Readings that cannot both be true: somebody set a clock, and the older one is void.
        readings.removeAll { abs($0.offset - offset) > $0.uncertainty(at: now) + uncertainty + 1_000 }
        readings.append(new)
        if readings.count > Self.limit { readings.removeFirst() }
    }

    private func best(at now: Int64) -> Reading? {
        readings.min { $0.uncertainty(at: now) < $1.uncertainty(at: now) }
    }

    /// Microseconds; 0 before the first reading.
    func offset(at now: Int64) -> Int64 { best(at: now)?.offset ?? 0 }

    /// Microseconds; nil before the first reading.
    func uncertainty(at now: Int64) -> Int64? { best(at: now)?.uncertainty(at: now) }
}
