// Private venue streams: fills of resting orders, position changes. One listener per account that this process serves.
//
// The stream is a faster look-up, nothing more: what it says is recorded by the same way as a look-up, and a stream that
// is deaf costs time only, because the sweep looks OPEN orders up every minute.
internal import SmartOrders

/// Follows the private streams of all accounts; several workers may, a job id is the same for all of them.
struct VenueListener: Sendable {
    private let context: EngineContext
    private let history: PriceHistory

    init(context: EngineContext, history: PriceHistory) {
        self.context = context
        self.history = history
    }

    /// Follows every account; new accounts are found within five seconds.
    func run() async throws {
        try await withThrowingTaskGroup { group in
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
                for await event in venue.events() {
                    switch event {
                    case .order(let clientOrderID, _, let snapshot):
                        try await record(account, clientOrderID, snapshot)
                    case .position, .interrupted: break
                    }
                }
            } catch is VenueError {
                context.observer.count("venue_stream_errors_total", 1)
            } catch is StoreError {
                context.observer.count("store_errors_total", 1)
            }
            try await context.clock.sleep(milliseconds: 1_000)
        }
    }

    /// Tells the order by a job, so that its handler looks the venue order up and records what it finds.
    private func record(_ account: AccountID, _ clientOrderID: String, _ snapshot: VenueSnapshot) async throws {
        guard let intent = try await context.orders.intent(account: account, clientOrderID: clientOrderID),
            // Whoever just sent a request is about to record its answer; the sweep comes after a sender that died.
            intent.venueOrder.state.isLive, intent.venueOrder.state != .submitted,
            snapshot.filled > intent.venueOrder.filled || snapshot.state != .open || snapshot.isTriggered
        else { return }
        guard let order = try await context.orders.load([intent.order]).first else { return }
        // The id carries what was seen: the same news twice is one job, later news another.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in "\(snapshot.filled.value) \(snapshot.state)".utf8 {
            hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
        }
        let number = 2_000_000_000 + Int((hash ^ hash >> 32) % 1_000_000_000)
        let job = Job.check(order, intent.venueOrder.key, number: number)
        do throws(QueueError) {
            _ = try await context.queue.offer([job], verify: false)
        } catch {
            try await context.orders.storeJobs([job])
        }
    }
}
