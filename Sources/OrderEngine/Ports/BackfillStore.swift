// Prices that become known late: the venue's history did not answer in time, or an operator asks it once more.

/// A stretch of a series whose history is to be asked for (RELIABILITY.md 4.4).
public struct Backfill: Hashable, Sendable {
    public let id: Int64
    public let series: PriceSeries
    /// Microseconds of venue time, both inclusive.
    public let from: Int64
    public let to: Int64
    public init(id: Int64, series: PriceSeries, from: Int64, to: Int64) {
        self.id = id
        self.series = series
        self.from = from
        self.to = to
    }
}

public protocol BackfillStore: Sendable {
    /// What is wanted of these series, oldest first, a few at a time. Whoever has one has a minute.
    func claimBackfills(of series: [PriceSeries]) async throws(StoreError) -> [Backfill]
    /// Stores prices that became known late, in order of position, none or many, and calls the gaps in its stretch filled.
    ///
    /// Where there are any, every shard is handed to its holder once more in the same transaction, with cursors from before
    /// them: whoever evaluates the series next, now or after any crash, meets them (RELIABILITY.md 4.3).
    func finish(_ backfill: Backfill, late: [ExtremeBucket.Point]) async throws(StoreError)
    /// The history did not answer: it is asked again in 10 s, for a day.
    /// - Parameter isFinal: it never will.
    func fail(_ backfill: Backfill, error: String, isFinal: Bool) async throws(StoreError)
    /// Rises with every `finish` that brought prices.
    func priceRevision() async throws(StoreError) -> Int64
}
