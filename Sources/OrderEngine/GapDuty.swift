// Who was armed while prices were missing that no history shows is told (RELIABILITY.md 4.4, 11.2 FEED_GAP_UNFILLED):
// nothing is invented, somebody should look. Where the history answers later after all, the word is taken back: what it
// shows was evaluated.
//
// A duty of the leading scheduler. May be done twice, by two leaders too: what is raised already stays as it is. Cost: one
// query of an empty index a second; while there is a gap 256 orders a step.
internal import SmartOrders

struct GapDuty {
    private let context: EngineContext
    private let timeline: any TimelineStore
    private var gap: FeedGap?
    private var after: OrderID?
    private var lookedAt: Int64 = .min / 2
    private static let page = 256
    private static let pause: Int64 = 1_000_000_000

    /// Nil: nobody stores gaps.
    init?(_ context: EngineContext) {
        guard let timeline = context.timeline else { return nil }
        self.context = context
        self.timeline = timeline
    }

    mutating func step() async throws(StoreError) {
        let now = context.clock.monotonicNanoseconds()
        if gap == nil {
            guard now - lookedAt >= Self.pause else { return }
            lookedAt = now
            gap = try await timeline.untoldGap()
        }
        guard let gap else { return }
        let ids = try await timeline.orders(across: gap, after: after, limit: Self.page)
        // Others were faster five times: the same page again with the next step.
        guard try await tell(ids, isRaised: !gap.isBackfilled) else { return }
        after = ids.last
        guard ids.count < Self.page else { return }
        try await timeline.setTold(gap)
        context.observer.note(
            gap.isBackfilled ? .info : .error,
            gap.isBackfilled ? "A gap of a feed is filled after all" : "FEED_GAP_UNFILLED",
            [("series", "\(gap.series)"), ("from", "\(gap.from)"), ("to", "\(gap.to)"), ("reason", gap.reason)],
        )
        (self.gap, after) = (nil, nil)
        lookedAt = .min / 2
    }

    /// A row that somebody else was faster at is read again. False: some are left.
    private func tell(_ ids: [OrderID], isRaised: Bool) async throws(StoreError) -> Bool {
        var left = ids
        for _ in 0..<OrderWorker.maximumConflicts where !left.isEmpty {
            var commits: [Commit] = []
            for row in try await context.orders.load(left) where !row.isTerminal {
                var transition = Transition(row)
                let moment = Moment(now: context.clock.now(), price: nil)
                guard row.smart?.attention.contains(.feedGapUnfilled) == !isRaised,
                    Self.apply(&transition, isRaised, moment)
                else { continue }
                let id = Int64(bitPattern: context.random())
                commits.append(transition.commit(id: id, cause: .recovery, actor: context.actor))
            }
            guard !commits.isEmpty else { return true }
            let outcomes = try await context.orders.commit(commits)
            left = zip(commits, outcomes).filter { $0.1 == .lost }.map { $0.0.next.id }
            await context.tell(commits.map(\.next.id))
        }
        return left.isEmpty
    }

    /// A rule that refuses it leaves the order as it is.
    private static func apply(_ transition: inout Transition, _ isRaised: Bool, _ moment: Moment) -> Bool {
        do { return try transition.apply(.attention(.feedGapUnfilled, isRaised: isRaised), at: moment) } catch {
            return false
        }
    }
}
