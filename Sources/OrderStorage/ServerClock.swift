// What this process knows of PostgreSQL's clock, to notice that it jumped (RELIABILITY.md 3.4.6).
//
// Invariant: as long as the server's clock runs on, what it shows at a moment of this process's monotonic clock lies between
// two bounds. A reading lies somewhere between its question and its answer, so each one narrows them; between readings they
// part by as much as clocks may drift. Nothing here compares wall clocks of two machines.
package import SmartOrders

/// The mapping from a monotonic clock (nanoseconds) to the server's (microseconds).
package struct ServerClock: Sendable {
    /// The server's time less the monotonic one, in microseconds, lies between these.
    private var offsets: ClosedRange<Int64>
    private var notedAt: Int64

    /// A step is more than this beyond what is possible, in microseconds.
    package static let tolerance: Int64 = 250_000
    /// The server's clock gains or loses at most one part in this many: slewing, twice over.
    private static let drift: Int64 = 500

    /// - Parameters: one reading, and the monotonic times of its question and its answer.
    package init(reading: Timestamp, askedAt: Int64, answeredAt: Int64) {
        offsets = Self.offsets(reading, askedAt, answeredAt)
        notedAt = answeredAt
    }

    private static func offsets(_ reading: Timestamp, _ askedAt: Int64, _ answeredAt: Int64) -> ClosedRange<Int64> {
        let (asked, answered) = (askedAt / 1_000, max(askedAt, answeredAt) / 1_000)
        return (reading.microseconds - answered)...(reading.microseconds - asked)
    }

    private func offsets(at now: Int64) -> ClosedRange<Int64> {
        let play = abs(now - notedAt) / 1_000 / Self.drift + 1
        return (offsets.lowerBound - play)...(offsets.upperBound + play)
    }

    /// The least that the server can show at this monotonic time.
    package func least(at now: Int64) -> Timestamp {
        Timestamp(microseconds: offsets(at: now).lowerBound + now / 1_000)
    }

    /// Takes a reading in; how far the server's clock jumped before it, in microseconds, ahead or back; nil: it did not.
    package mutating func note(reading: Timestamp, askedAt: Int64, answeredAt: Int64) -> Int64? {
        let known = offsets(at: answeredAt)
        let read = Self.offsets(reading, askedAt, answeredAt)
        notedAt = answeredAt
        let (low, high) = (max(known.lowerBound, read.lowerBound), min(known.upperBound, read.upperBound))
        guard low > high else {
            offsets = low...high
            return nil
        }
        offsets = read
        let step =
            read.lowerBound > known.upperBound
            ? read.lowerBound - known.upperBound : read.upperBound - known.lowerBound
        return abs(step) > Self.tolerance ? step : nil
    }
}
