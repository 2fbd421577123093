// One look at the newest price of a series for all who ask at the same time.
//
// Invariant: the look that answers a question began after it, so a price that stood when a command came is in its answer.
// Whoever asks while a look is under way shares the next one: no timer, no added wait when idle. Limits: 4,096 series.
internal import SmartOrders

actor PriceLooks {
    private typealias Shared = Gatherer<PriceSeries, ExtremeBucket.Point?>

    private static let maximumSeries = 4_096
    private var shared: [PriceSeries: Shared] = [:]

    /// - Parameter look: the same for all who ask.
    func newest(
        _ series: PriceSeries,
        _ look: @escaping @Sendable (PriceSeries) async throws(StoreError) -> ExtremeBucket.Point?,
    ) async throws(StoreError) -> ExtremeBucket.Point? {
        if let known = shared[series] { return try await known.ask(series) }
        // Looks under way go on without us.
        if shared.count >= Self.maximumSeries { shared = [:] }
        let made = Shared { asked throws(StoreError) in
            let found = try await look(series)
            return asked.map { _ in found }
        }
        shared[series] = made
        return try await made.ask(series)
    }
}
