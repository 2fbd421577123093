internal import OwnerThread
// The venue as a process without keys sees it: readings that a worker makes, and no orders.
//
// Invariant: what is asked for fresh was read after it was asked for. Limits: nobody waits longer than his patience, and
// while no worker answers, questions that do not have to be answered are not asked again for 5 s, so an API process goes
// on without workers as it did without a venue.
public import SmartOrders

/// What was told, and when.
public struct ToldReading: Sendable {
    public let reading: VenueReading
    public let asOf: Timestamp
    /// False: what was asked for could not be had, this is the last that is known.
    public let isCurrent: Bool
}

/// Asks through `VenueReadings` and waits for answers.
public final class VenueReader: Sendable {
    private static let pollMs: Int64 = 10
    private static let silenceNanoseconds: Int64 = 5_000_000_000

    private let readings: any VenueReadings
    private let clock: any EngineClock
    /// Until when an account's questions are held to be vain, in monotonic nanoseconds.
    private let silentUntil = Locked<[AccountID: Int64]>([:])

    public init(readings: any VenueReadings, clock: any EngineClock) {
        self.readings = readings
        self.clock = clock
    }

    /// A reading that is younger than `maximumAgeMs`, or begun now.
    /// - Parameter isNeeded: asks although nobody answered lately.
    /// - Returns: nil: nothing was ever told. The failure of the newest asking says why there is no better one.
    public func read(
        _ question: VenueQuestion,
        of account: AccountID,
        maximumAgeMs: Int64,
        patienceMs: Int64,
        isNeeded: Bool = true,
    ) async throws(StoreError) -> (told: ToldReading?, failure: String?) {
        let known = try await readings.answer(to: question, of: account)
        let limit = clock.now().advanced(milliseconds: -maximumAgeMs)
        if maximumAgeMs > 0, let known, let asOf = known.asOf, asOf >= limit, let reading = known.reading {
            return (ToldReading(reading: reading, asOf: asOf, isCurrent: true), nil)
        }
        let begun = clock.monotonicNanoseconds()
        if !isNeeded, silentUntil.withLock({ $0[account] }).map({ $0 > begun }) == true {
            return (Self.told(known, isCurrent: false), "nobody answers")
        }
        let number = try await readings.ask(question, of: account)
        while true {
            do { try await clock.sleep(milliseconds: Self.pollMs) } catch {
                throw StoreError(.unavailable, "cancelled")
            }
            let answer = try await readings.answer(to: question, of: account)
            let now = clock.monotonicNanoseconds()
            if let answer, answer.number >= number {
                silentUntil.withLock { $0[account] = nil }
                return (Self.told(answer, isCurrent: answer.failure == nil), answer.failure)
            }
            guard now - begun < patienceMs * 1_000_000 else {
                silentUntil.withLock { silent in
                    if silent.count > 10_000 { silent = silent.filter { $0.value > now } }
                    silent[account] = now + Self.silenceNanoseconds
                }
                return (Self.told(answer, isCurrent: false), "no worker answered in time")
            }
        }
    }

    private static func told(_ answer: VenueAnswer?, isCurrent: Bool) -> ToldReading? {
        guard let reading = answer?.reading, let asOf = answer?.asOf else { return nil }
        return ToldReading(reading: reading, asOf: asOf, isCurrent: isCurrent)
    }
}

/// The venues of a process without keys.
public final class RelayedVenues: VenueDirectory {
    private struct Known {
        let isHedged: Bool
        let isSpot: Bool
        let until: Int64
    }

    private static let lifeNanoseconds: Int64 = 60_000_000_000
    private static let patienceMs: Int64 = 1_500

    private let reader: VenueReader
    private let accounts: any AccountStore
    private let clock: any EngineClock
    private let known = Locked<[AccountID: Known]>([:])

    public init(reader: VenueReader, accounts: any AccountStore, clock: any EngineClock) {
        self.reader = reader
        self.accounts = accounts
        self.clock = clock
    }

    public func venue(for account: AccountID) async throws(VenueError) -> any Venue {
        let now = clock.monotonicNanoseconds()
        if let known = known.withLock({ $0[account] }), known.until > now { return venue(account, known) }
        do throws(StoreError) {
            guard let stored = try await accounts.account(account) else {
                throw StoreError(.corruptRow, "there is no account \(account)")
            }
            var isHedged = false
            let isSpot = stored.product == "spot"
            if !isSpot {
                // Whatever its age: accounts keep their way of holding positions.
                let (told, failure) = try await reader.read(
                    .positions,
                    of: account,
                    maximumAgeMs: 31_536_000_000,
                    patienceMs: Self.patienceMs,
                    isNeeded: false,
                )
                guard case .positions(_, let hedged)? = told?.reading else {
                    throw StoreError(.unavailable, failure ?? "the venue did not answer")
                }
                isHedged = hedged
            }
            let entry = Known(isHedged: isHedged, isSpot: isSpot, until: now + Self.lifeNanoseconds)
            known.withLock { known in
                if known.count > 10_000 { known = known.filter { $0.value.until > now } }
                known[account] = entry
            }
            return venue(account, entry)
        } catch {
            throw VenueError(error.detail)
        }
    }

    private func venue(_ account: AccountID, _ known: Known) -> RelayedVenue {
        RelayedVenue(
            account: account,
            isHedged: known.isHedged,
            isSpot: known.isSpot,
            reader: reader,
            accounts: accounts,
            clock: clock,
        )
    }
}

/// One account's venue, for reading only.
struct RelayedVenue: Venue {
    /// How far answers to questions may lag behind executions (RELIABILITY.md 2.4).
    private static let queryLagMs: Int64 = 2_000
    private static let patienceMs: Int64 = 2_500

    let account: AccountID
    let isHedged: Bool
    let isSpot: Bool
    let reader: VenueReader
    let accounts: any AccountStore
    let clock: any EngineClock

    var fenceMs: Int64 { 15_500 }
    var windowMs: Int64 { 2_000 }
    func venueTime() -> Timestamp { clock.now() }

    func place(_ placement: Placement) async -> PlacementAnswer { .notSent("orders are for workers") }
    func cancel(market: MarketID, clientOrderID: String) async -> CancelAnswer { .failed("orders are for workers") }
    func lookUp(market: MarketID, clientOrderID: String) async -> LookUpAnswer { .failed("orders are for workers") }
    func instruments() async throws(VenueError) -> [Instrument] { throw VenueError("markets are for workers") }
    func events() -> AsyncStream<VenueStreamEvent> { AsyncStream { $0.finish() } }

    func read(_ question: VenueQuestion) async throws(VenueError) -> VenueReading {
        guard let told = await tell(question, maximumAgeMs: 0, isNeeded: true) else {
            throw VenueError("the venue did not answer")
        }
        return told.reading
    }

    /// Nil: nothing that is recent enough.
    private func tell(_ question: VenueQuestion, maximumAgeMs: Int64, isNeeded: Bool) async -> ToldReading? {
        do throws(StoreError) {
            let (told, _) = try await reader.read(
                question,
                of: account,
                maximumAgeMs: maximumAgeMs,
                patienceMs: Self.patienceMs,
                isNeeded: isNeeded,
            )
            return told.flatMap { $0.isCurrent ? $0 : nil }
        } catch {
            return nil
        }
    }

    func holding(market: MarketID, side: Side, fresh: Bool) async -> Holding? {
        let question: VenueQuestion = isSpot ? .balances : .positions
        guard let told = await tell(question, maximumAgeMs: fresh ? 0 : 2_000, isNeeded: false) else { return nil }
        let asOf = told.asOf.advanced(milliseconds: -Self.queryLagMs)
        switch told.reading {
        case .positions(let positions, _):
            let place = positions.first { $0.market == market && $0.side == (isHedged ? side : nil) }
            return Holding(quantity: place?.quantity ?? .zero, average: place?.average, asOf: asOf)
        case .balances(let balances):
            let instrument: Instrument?
            do throws(StoreError) { instrument = try await accounts.instrument(market) } catch { return nil }
            guard let asset = instrument?.baseAsset else { return nil }
            let coins = balances.first { $0.asset == asset }
            return Holding(quantity: coins.map { $0.free + $0.locked } ?? .zero, asOf: asOf)
        case .openOrders, .resting: return nil
        }
    }

    func freeBalance(asset: String) async -> ExactDecimal? {
        guard isSpot, let told = await tell(.balances, maximumAgeMs: 2_000, isNeeded: false),
            case .balances(let balances) = told.reading
        else { return nil }
        return balances.first { $0.asset == asset }?.free ?? .zero
    }

    func resting(market: MarketID, venueOrderID: String) async throws(VenueError) -> RestingOrder? {
        let question = VenueQuestion.resting(market, venueOrderID: venueOrderID)
        guard let told = await tell(question, maximumAgeMs: 0, isNeeded: true),
            case .resting(let order) = told.reading
        else { throw VenueError("the venue did not answer") }
        return order
    }
}
