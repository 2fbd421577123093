// Prices of our own making: a seeded random walk, and a script for the demo.
public import OrderEngine
internal import SmartOrders

/// A seeded walk in price units; the same seed gives the same prices.
public struct RandomWalkSource: TickSource {
    private let series: PriceSeries
    private let start: Int64
    private let step: Int64
    private let periodMs: Int64
    private let seed: UInt64
    private let clock: any EngineClock

    /// - Parameters:
    ///   - start: first price in units; the walk stays between a quarter and four times of it.
    ///   - step: tick size in units; each move is -3...3 steps.
    public init(
        series: PriceSeries,
        start: Int64,
        step: Int64,
        periodMs: Int64,
        seed: UInt64,
        clock: any EngineClock,
    ) {
        self.series = series
        self.start = start
        self.step = step
        self.periodMs = periodMs
        self.seed = seed
        self.clock = clock
    }

    public func run(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws {
        var state = seed
        var price = start
        var sequence: Int64 = 0
        while !Task.isCancelled {
            // splitmix64: small, seeded, and the same everywhere.
            state &+= 0x9e37_79b9_7f4a_7c15
            var noise = state
            noise = (noise ^ noise >> 30) &* 0xbf58_476d_1ce4_e5b9
            noise = (noise ^ noise >> 27) &* 0x94d0_49bb_1331_11eb
            noise ^= noise >> 31
            price += (Int64(noise % 7) - 3) * step
            price = min(max(price, start / 4 / step * step, step), start * 4)
            let now = clock.now().microseconds
            let tick = RawTick(
                position: TickPosition(venueTime: now, sequence: sequence),
                price: price,
                receivedAt: now,
            )
            try await emit([SourcedTick(series: series, tick: tick, quantity: nil)])
            sequence += 1
            try await clock.sleep(milliseconds: periodMs)
        }
    }
}

/// Prices at fixed moments after the start: what a demo shows.
public struct ScriptedSource: TickSource {
    public struct Step: Hashable, Sendable {
        /// Milliseconds after the start, rising.
        public let atMs: Int64
        /// In units.
        public let price: Int64
        public init(atMs: Int64, price: Int64) {
            self.atMs = atMs
            self.price = price
        }
    }
    private let series: PriceSeries
    private let steps: [Step]
    private let clock: any EngineClock
    private let begun: (@Sendable () async throws -> Void)?

    public init(
        series: PriceSeries,
        steps: [Step],
        clock: any EngineClock,
        begun: (@Sendable () async throws -> Void)? = nil,
    ) {
        self.series = series
        self.steps = steps
        self.clock = clock
        self.begun = begun
    }

    /// Publishes each step at its time and repeats the last price every 100 ms between steps; returns after the last.
    public func run(_ emit: @Sendable ([SourcedTick]) async throws -> Void) async throws {
        guard let first = steps.first else { return }
        var sequence: Int64 = 0
        func tick(_ price: Int64) -> SourcedTick {
            defer { sequence += 1 }
            let now = clock.now().microseconds
            return SourcedTick(
                series: series,
                tick: RawTick(
                    position: TickPosition(venueTime: now, sequence: sequence),
                    price: price,
                    receivedAt: now,
                ),
                quantity: nil,
            )
        }
        try await emit([tick(first.price)])
        try await begun?()
        let start = clock.monotonicNanoseconds()
        var price = first.price
        for step in steps.dropFirst() {
            while true {
                let left = step.atMs - (clock.monotonicNanoseconds() - start) / 1_000_000
                guard left > 0 else { break }
                try await clock.sleep(milliseconds: min(left, 100))
                if left > 100 { try await emit([tick(price)]) }
            }
            price = step.price
            try await emit([tick(price)])
        }
    }
}
