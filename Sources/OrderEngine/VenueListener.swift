// Follows the private streams of all accounts; several workers may, a job id is the same for all of them.
//
// What a stream says is a hint: the handler of the job it makes asks the venue. So a frame may come twice, late or in
// another order than its neighbours. A hint is in the queue (or the outbox) before the next one is read, and when a
// stream was interrupted everything that may have changed meanwhile is asked for. Every worker listens, so that each knows
// the positions that its exits are fitted to; the hints of an account are followed by the holder of its shard, who asks
// for everything when the shard becomes his. Cost: hints and positions are looked at ten times a second at most, positions
// less often where a look takes long.
internal import OwnerThread
internal import SmartOrders

struct VenueListener: Sendable {
    private let context: EngineContext
    /// Whether this worker follows the hints of an account.
    private let owns: @Sendable (AccountID) -> Bool
    private let followers = Followers()
    private static let ownershipMs: Int64 = 500
    private static let newsPauseMs: Int64 = 10
    private static let longestNewsPauseMs: Int64 = 50
    private static let pauseMs: Int64 = 100
    private static let everythingPauseMs: Int64 = 2_000
    private static let longestPauseMs: Int64 = 5_000
    /// Positions are compared this often also when nothing was told.
    private static let sweepMs: Int64 = 60_000
    private static let pageSize = 256
    /// So long after a loss unknown orders are what the orders of the lost history are still looking for.
    private static let searchMs: Int64 = 600_000

    init(context: EngineContext, owns: @escaping @Sendable (AccountID) -> Bool) {
        self.context = context
        self.owns = owns
    }

    /// Follows every account; new accounts are found within five seconds.
    func run() async throws {
        try await withThrowingTaskGroup { group in
            group.addTask { try await self.watchOwnership() }
            var followed: Set<AccountID> = []
            while !Task.isCancelled {
                do throws(StoreError) {
                    for account in try await context.accounts.accounts() where !followed.contains(account.id) {
                        followed.insert(account.id)
                        group.addTask { try await self.follow(account.id) }
                    }
                } catch {
                    context.observer.count("store_errors_total", 1)
                }
                try await context.clock.sleep(milliseconds: 5_000)
            }
            group.cancelAll()
        }
    }

    private func follow(_ account: AccountID) async throws {
        while !Task.isCancelled {
            do {
                let venue = try await context.venues.venue(for: account)
                try await listen(account, venue)
            } catch is VenueError {
                context.observer.count("venue_stream_errors_total", 1)
            } catch is StoreError {
                context.observer.count("store_errors_total", 1)
            }
            try await context.clock.sleep(milliseconds: 1_000)
        }
    }

    private func listen(_ account: AccountID, _ venue: any Venue) async throws {
        let hints = PositionHints()
        let news = OrderNews()
        let follower = Follower(account, hints, news)
        followers.add(follower)
        defer { followers.remove(follower) }
        try await withThrowingTaskGroup { group in
            group.addTask {
                let isFollowed: @Sendable () -> Bool = {
                    if self.owns(account) { return true }
                    follower.noteBehind()
                    return false
                }
                for await event in venue.events(isFollowed: isFollowed) where isFollowed() {
                    switch event {
                    case .order(let clientOrderID, _, let snapshot):
                        if !news.note(clientOrderID, snapshot) { hints.ask(.everything) }
                    case .position(let market, let side, let holding): hints.note(market, side, holding)
                    // Coins are read when an exit needs them (ORDERS.md R16.6).
                    case .balance: break
                    case .interrupted: hints.ask(.everything)
                    }
                }
            }
            group.addTask {
                while await news.bell.listen() {
                    let told = news.take()
                    try await self.record(account, told, news)
                    // Where many orders have news at once they share the next look.
                    if told.count > 1 {
                        let pauseMs = min(Int64(told.count) * Self.newsPauseMs, Self.longestNewsPauseMs)
                        try await context.clock.sleep(milliseconds: pauseMs)
                    }
                }
            }
            group.addTask { try await self.compare(account, venue, hints) }
            try await group.next()
            group.cancelAll()
        }
    }

    /// One task for all accounts: most of them have nothing to say.
    private func watchOwnership() async throws {
        while !Task.isCancelled {
            try await context.clock.sleep(milliseconds: Self.ownershipMs)
            for follower in followers.all where owns(follower.account) {
                follower.catchUp(everyMs: Self.sweepMs, now: context.clock.monotonicNanoseconds() / 1_000_000)
            }
        }
    }

    // MARK: Orders

    /// Tells the orders by jobs, so that their handlers look the venue orders up and record what they find.
    private func record(_ account: AccountID, _ told: [String: [VenueSnapshot]], _ waiting: OrderNews) async throws {
        guard !told.isEmpty else { return }
        var early: [(clientOrderID: String, snapshot: VenueSnapshot)] = []
        var news: [(intent: StoredIntent, snapshot: VenueSnapshot)] = []
        let known = try await context.orders.intents(account: account, clientOrderIDs: told.keys.sorted())
        let strangers = told.keys.filter { id in
            VenueIdentity.isOurForm(id) && !known.contains { $0.clientOrderID == id }
        }
        if !strangers.isEmpty { try await alarm(account, strangers.sorted()) }
        for intent in known {
            switch intent.venueOrder.state {
            // Whoever just sent a request is about to record its answer; the sweep comes after a sender that died. An
            // order that rests may have traded between that answer and its record.
            case .submitted:
                guard intent.venueOrder.type == .goodTillCancelled else { continue }
                for snapshot in told[intent.clientOrderID] ?? []
                where snapshot.filled.isPositive || snapshot.state != .open {
                    early.append((intent.clientOrderID, snapshot))
                }
            case .filled, .cancelled, .expired, .rejected, .notSent: continue
            // Accepted after its deadline (RELIABILITY.md 6.7, FA99).
            case .absent: if let last = told[intent.clientOrderID]?.last { news.append((intent, last)) }
            case .intent, .open, .partial, .unknown, .cancelRequested:
                for snapshot in told[intent.clientOrderID] ?? []
                where snapshot.filled > intent.venueOrder.filled || snapshot.state != .open || snapshot.isTriggered {
                    news.append((intent, snapshot))
                }
            }
        }
        waiting.keepForLater(early)
        guard !news.isEmpty else { return }
        let orders = Dictionary(
            try await context.orders.load(Set(news.map(\.intent.order)).sorted()).map { ($0.id, $0) },
            uniquingKeysWith: { first, _ in first },
        )
        try await offer(
            news.compactMap { intent, snapshot in
                // The id carries what was seen: the same news twice is one job, later news another.
                let number = Self.number("\(snapshot.filled.value) \(snapshot.state)")
                return orders[intent.order].map { .check($0, intent.venueOrder.key, number: number) }
            }
        )
    }

    /// Orders with ids of our form and no row: a second cluster trades on this account, or a history is lost. New exposure
    /// stops there until somebody has looked (RELIABILITY.md 11.1, 11.2).
    private func alarm(_ account: AccountID, _ ids: [String]) async throws {
        context.observer.note(
            .error,
            "UNKNOWN_VENUE_ORDER: orders of our form at the venue that no row knows",
            [("account_id", "\(account)"), ("client_order_id", ids[0]), ("orders", "\(ids.count)")],
        )
        // What a lost history sent is looked for by its orders; what is still unknown then has none.
        if let began = context.recovery?.historyBegan,
            context.clock.now() < began.advanced(milliseconds: Self.searchMs)
        {
            return
        }
        try await context.cluster.haltEntries(of: account, reason: "UNKNOWN_VENUE_ORDER: \(ids[0])")
    }

    // MARK: Positions

    /// Looks at what was told since the last time, until cancelled.
    private func compare(_ account: AccountID, _ venue: any Venue, _ hints: PositionHints) async throws {
        var pauseMs = Self.pauseMs
        while await hints.bell.listen() {
            try await context.clock.sleep(milliseconds: pauseMs)
            let (extent, told) = hints.take()
            let begun = context.clock.monotonicNanoseconds()
            defer {
                // Where many orders share a position a look takes long: a twentieth of the time goes into looking. A
                // stream that cannot be opened asks for everything again and again.
                let took = (context.clock.monotonicNanoseconds() - begun) / 1_000_000
                let least = extent == .everything ? Self.everythingPauseMs : Self.pauseMs
                pauseMs = min(max(least, took * 20), Self.longestPauseMs)
            }
            do throws(StoreError) {
                switch extent {
                case .everything: try await reconcile(account, venue, isWhole: true)
                case .positions: try await reconcile(account, venue, isWhole: false)
                case .nothing: break
                }
                for (place, holding) in told { try await moved(account, place, holding, isTold: true) }
            } catch {
                context.observer.count("store_errors_total", 1)
                try await context.clock.sleep(milliseconds: 1_000)
                // Nothing of it is lost.
                for (place, holding) in told { hints.keep(place, holding) }
                hints.ask(extent)
            }
        }
    }

    /// Everything that may have changed unseen: venue orders that may exist, and positions of markets with open orders.
    /// - Parameter isWhole: venue orders too; they have checks of their own once a minute.
    private func reconcile(_ account: AccountID, _ venue: any Venue, isWhole: Bool) async throws(StoreError) {
        let work = try await context.orders.openWork(account: account)
        // An occasion of its own each time: what happened since the last one is not in what that one found.
        let number = Self.number("open \(context.worker.text) \(context.clock.monotonicNanoseconds())")
        if isWhole, !work.atVenue.isEmpty {
            var start = 0
            while start < work.atVenue.count {
                let page = Array(work.atVenue[start..<min(start + 256, work.atVenue.count)])
                start += page.count
                let orders = try await context.orders.load(page)
                try await offer(orders.map { .reconcile($0, number: number) })
            }
        }
        for market in work.markets {
            for side in venue.isHedged ? [Side.buy, .sell] : [nil] {
                guard
                    let holding = await venue.holding(market: market, side: side ?? .buy, fresh: true)
                else { continue }
                try await moved(account, PositionHints.Place(market: market, side: side), holding, isTold: false)
            }
        }
        context.observer.count("reconcile_runs_total", 1)
    }

    /// A job for every order that the position leaves without its own, or that follows the position.
    private func moved(
        _ account: AccountID,
        _ place: PositionHints.Place,
        _ holding: Holding,
        isTold: Bool,
    ) async throws(StoreError) {
        let number = Self.number("\(holding.quantity) \(holding.asOf.milliseconds)")
        var query = PositionQuery(
            account: account,
            market: place.market,
            side: place.side,
            quantity: holding.quantity,
            limit: Self.pageSize,
        )
        while true {
            let page = try await context.orders.left(by: query)
            let touched = page.filter { $0.isTouched(by: holding, at: place, isTold: isTold) }
            try await offer(touched.map { .reconcile($0, number: number) })
            guard page.count == Self.pageSize, let last = page.last else { return }
            query.after = last.id
        }
    }

    // MARK: Jobs

    private func offer(_ jobs: [Job]) async throws(StoreError) {
        var start = 0
        while start < jobs.count {
            let page = Array(jobs[start..<min(start + 256, jobs.count)])
            start += page.count
            var refused = page
            do throws(QueueError) {
                let codes = try await context.queue.offer(page, verify: false)
                refused = zip(page, codes).filter { $1 == .full }.map(\.0)
            } catch {
                context.observer.count("queue_errors_total", 1)
            }
            try await context.orders.storeJobs(refused)
        }
    }

    /// From here on numbers of checks are news; those below count look-ups.
    static let leastNumber = 2_000_000_000

    private static func number(_ news: String) -> Int {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in news.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        return leastNumber + Int((hash ^ hash >> 32) % 1_000_000_000)
    }
}

extension StoredOrder {
    /// Whether it has to be compared with the venue because of this position.
    fileprivate func isTouched(by holding: Holding, at place: PositionHints.Place, isTold: Bool) -> Bool {
        guard let order = smart else { return isLeft(by: holding, at: place, isTold: isTold) }
        guard order.status.isOpen, order.instrument.kind.isDerivative else { return false }
        if let side = place.side, side != order.draft.side { return false }
        let there = order.draft.side.quantity(ofPosition: holding.quantity)
        if there.isNegative || order.attention.contains(.positionMismatch) { return true }
        switch order.draft.sizeMode {
        case .position: return there != order.remaining.value
        // Exits under way explain a smaller position; their own news says.
        case .fixed: return there < order.free.value
        }
    }

    /// A reduce-only conditional order loses its position. It may wait for one, so that there is none counts only as
    /// news.
    fileprivate func isLeft(by holding: Holding, at place: PositionHints.Place, isTold: Bool) -> Bool {
        guard followsPosition, instrument.kind.isDerivative else { return false }
        if let side = place.side, side != positionSide { return false }
        let there = positionSide.quantity(ofPosition: holding.quantity)
        return there.isNegative || there.isZero && isTold
    }
}

/// An account that is listened to.
private final class Follower: Sendable {
    private struct State {
        /// Something was told while another worker followed the account's hints.
        var isBehind = false
        var sweptAt: Int64?
    }

    let account: AccountID
    private let hints: PositionHints
    private let news: OrderNews
    private let state = Locked(State())

    init(_ account: AccountID, _ hints: PositionHints, _ news: OrderNews) {
        self.account = account
        self.hints = hints
        self.news = news
    }

    func noteBehind() { state.withLock { $0.isBehind = true } }

    /// Asks for what the last holder may not have followed up, and for positions once in a while.
    func catchUp(everyMs: Int64, now: Int64) {
        let (wasBehind, isDue) = state.withLock { state in
            let wasBehind = state.isBehind
            state.isBehind = false
            let isDue = state.sweptAt.map { now - $0 >= everyMs } ?? false
            if isDue || state.sweptAt == nil { state.sweptAt = now }
            return (wasBehind, isDue)
        }
        let isWhole = news.bringBack()
        if wasBehind || !isWhole { hints.ask(.everything) }
        if isDue { hints.ask(.positions) }
    }
}

/// The accounts that are listened to, in the order in which they came.
private final class Followers: Sendable {
    private let state = Locked<[Follower]>([])

    var all: [Follower] { state.withLock { $0 } }
    func add(_ follower: Follower) { state.withLock { $0.append(follower) } }
    func remove(_ follower: Follower) { state.withLock { $0.removeAll { $0 === follower } } }
}

/// What was told of venue orders, until somebody looks.
private final class OrderNews: Sendable {
    private struct State {
        var told: [String: [VenueSnapshot]] = [:]
        var count = 0
        var early: [(clientOrderID: String, snapshot: VenueSnapshot)] = []
    }

    private let state = Locked(State())
    /// Rings when there is something to look at.
    let bell = Bell()
    private static let limit = 10_000

    /// False: too much waits, and this is not kept.
    func note(_ clientOrderID: String, _ snapshot: VenueSnapshot) -> Bool {
        let isKept = state.withLock { state in
            guard state.count < Self.limit else { return false }
            state.count += 1
            state.told[clientOrderID, default: []].append(snapshot)
            return true
        }
        bell.ring()
        return isKept
    }

    func take() -> [String: [VenueSnapshot]] {
        state.withLock { state in
            defer {
                state.told = [:]
                state.count = 0
            }
            return state.told
        }
    }

    /// Keeps what came before the order's row could say anything about it; beyond the limit the look-ups that follow an
    /// answer find it.
    func keepForLater(_ early: [(clientOrderID: String, snapshot: VenueSnapshot)]) {
        if early.isEmpty { return }
        state.withLock { $0.early += early.prefix(max(0, Self.limit - $0.early.count)) }
    }

    /// Tells what was kept again; false: not all of it, too much waits.
    func bringBack() -> Bool {
        let early = state.withLock { state in
            defer { state.early = [] }
            return state.early
        }
        return early.allSatisfy { note($0.clientOrderID, $0.snapshot) }
    }
}

/// The newest word on each position, until somebody looks. Bounded by the markets of an account.
final class PositionHints: Sendable {
    struct Place: Hashable, Sendable {
        let market: MarketID
        /// Nil: both directions are netted.
        let side: Side?
    }

    /// How much has to be compared beside what was told.
    enum Extent: Int, Sendable { case nothing, positions, everything }

    private struct State {
        var extent = Extent.nothing
        var told: [Place: Holding] = [:]
        var order: [Place] = []
    }

    private let state = Locked(State())
    /// Rings when there is something to look at.
    let bell = Bell()

    func note(_ market: MarketID, _ side: Side?, _ holding: Holding) {
        let place = Place(market: market, side: side)
        state.withLock { state in
            if let known = state.told[place] {
                // Frames may be shuffled.
                guard holding.asOf >= known.asOf else { return }
            } else {
                state.order.append(place)
            }
            state.told[place] = holding
        }
        bell.ring()
    }

    func ask(_ extent: Extent) {
        state.withLock { state in
            if extent.rawValue > state.extent.rawValue { state.extent = extent }
        }
        bell.ring()
    }

    /// Puts back what could not be looked at, unless something newer was told.
    func keep(_ place: Place, _ holding: Holding) {
        state.withLock { state in
            guard state.told[place] == nil else { return }
            state.told[place] = holding
            state.order.append(place)
        }
        bell.ring()
    }

    /// Everything since the last time, in the order in which it was first told.
    func take() -> (extent: Extent, told: [(Place, Holding)]) {
        state.withLock { state in
            defer { state = State() }
            return (state.extent, state.order.compactMap { place in state.told[place].map { (place, $0) } })
        }
    }
}
