// Recorded prices as a feed: at their own pace, faster, as fast as they can be read, or stepped.
//
// A stepped replay publishes one tick and waits until every evaluator has seen it and all work that it caused is done:
// the same orders on the same file then meet the same prices as in a backtest, also when a worker is killed on the way.
public import OrderEngine
internal import SmartOrders
internal import TickFiles

/// How fast recorded ticks go out.
public enum ReplayPace: Hashable, Sendable {
    /// Recorded time divided by this factor; 1 is real time.
    case times(Int)
    /// As fast as they can be published.
    case unlimited
    /// One by one, each after all work on the one before is done.
    case stepped
}

/// Replays tick files.
public struct ReplaySource: TickSource {
    /// One file and how its instruments are called here.
    public struct File: Hashable, Sendable {
        public let path: String
        /// `venue:symbol` of the file -> series; others are skipped.
        public let series: [String: PriceSeries]
        public let decimals: [PriceSeries: Int]
        /// - Parameter series: `venue:symbol` of a row to its series here.
        public init(path: String, series: [String: PriceSeries], decimals: [PriceSeries: Int]) {
            self.path = path
            self.series = series
            self.decimals = decimals
        }
    }

    private let files: [File]
    private let pace: ReplayPace
    private let clock: any EngineClock
    private let ticks: any TickLog
    /// Called after the first tick of each series: the replay goes on when it returns.
    private let begun: (@Sendable (PriceSeries) async throws -> Void)?

    public init(
        files: [File],
        pace: ReplayPace,
        clock: any EngineClock,
        ticks: any TickLog,
        begun: (@Sendable (PriceSeries) async throws -> Void)? = nil,
    ) {
        self.files = files
        self.pace = pace
        self.clock = clock
        self.ticks = ticks
        self.begun = begun
    }

    public func run(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws {
        var begunSeries: Set<PriceSeries> = []
        for file in files {
            try await replay(file, begunSeries: &begunSeries, emit)
        }
    }

    private func replay(
        _ wanted: File,
        begunSeries: inout Set<PriceSeries>,
        _ emit: @Sendable ([SourcedTick]) async throws -> Void,
    ) async throws {
        var file = try TickFile.open(wanted.path)
        var batch: [SourcedTick] = []
        var started: (venue: Int64, local: Int64)?
        let batchLimit =
            switch pace {
            case .stepped: 1
            case .times: 1
            case .unlimited: 500
            }
        while let row = try file.next() {
            try Task.checkCancellation()
            let name = file.series[row.series].description
            guard let series = wanted.series[name], let decimals = wanted.decimals[series] else { continue }
            guard let price = row.price.units(decimals: decimals) else {
                throw TickFileError(
                    file: wanted.path,
                    line: row.number + 2,
                    reason: "price has more than \(decimals) decimals",
                )
            }
            if case .times(let factor) = pace {
                let start = started ?? (row.time, clock.monotonicNanoseconds())
                started = start
                let due = start.local + (row.time - start.venue) * 1_000 / Int64(max(factor, 1))
                let wait = (due - clock.monotonicNanoseconds()) / 1_000_000
                if wait > 0 { try await clock.sleep(milliseconds: wait) }
            }
            let received = pace == .stepped ? 0 : clock.now().microseconds
            batch.append(
                SourcedTick(
                    series: series,
                    tick: RawTick(position: row.position, price: price, receivedAt: received),
                    quantity: Quantity(row.quantity.value),
                )
            )
            let isFirst = begunSeries.insert(series).inserted
            if batch.count >= batchLimit || (isFirst && begun != nil) {
                try await emit(batch)
                if isFirst { try await begun?(series) }
                if pace == .stepped { try await settle(batch[batch.count - 1]) }
                batch.removeAll(keepingCapacity: true)
            }
        }
        if !batch.isEmpty { try await emit(batch) }
    }

    /// Waits until all shards are evaluated up to this tick and nothing is open.
    private func settle(_ last: SourcedTick) async throws {
        var waited: Int64 = 0
        while true {
            do throws(TickLogError) {
                let done = try await ticks.progress(last.series)
                    .filter { $0.position >= last.tick.position && $0.open == 0 }
                if done.reduce(0, { $0 + $1.shards }) >= OrderID.shardCount { return }
            } catch {
                // Redis is away: whoever evaluates goes on from PostgreSQL; wait for it.
                try await clock.sleep(milliseconds: 100)
            }
            try await clock.sleep(milliseconds: waited < 20 ? 0 : 1)
            waited += 1
        }
    }
}
