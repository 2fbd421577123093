// What `explain` reads, from a `MemoryDatabase`.
package import OrderEngine
internal import OwnerThread
package import SmartOrders

package struct MemoryTimelineStore: TimelineStore {
    private let database: MemoryDatabase

    package init(_ database: MemoryDatabase) {
        self.database = database
    }

    package func versions(of order: OrderID, after: Int64, limit: Int) async throws(StoreError) -> [StoredVersion] {
        database.state.withLock { state in
            Array(state.versions.filter { $0.order.id == order && $0.version > after }.prefix(limit))
        }
    }

    package func notes(of order: OrderID) async throws(StoreError) -> [OrderNote] {
        database.state.withLock { state in
            state.notes.filter { $0.order == order }.sorted { ($0.firstAt, $0.subject) < ($1.firstAt, $1.subject) }
        }
    }

    package func add(_ notes: [OrderNote]) async throws(StoreError) {
        database.state.withLock { state in
            for note in notes where state.rows[note.order] != nil {
                let known = state.notes.firstIndex {
                    $0.order == note.order && $0.kind == note.kind && $0.subject == note.subject
                }
                guard let known else {
                    state.notes.append(note)
                    continue
                }
                let old = state.notes[known]
                state.notes[known] = OrderNote(
                    order: old.order,
                    kind: old.kind,
                    subject: old.subject,
                    actor: old.actor,
                    code: old.code,
                    detail: old.detail,
                    count: old.count + note.count,
                    firstAt: old.firstAt,
                    lastAt: max(old.lastAt, note.lastAt),
                )
            }
        }
    }

    package func halts(
        _ order: OrderID,
        account: AccountID,
        market: MarketID,
    ) async throws(StoreError) -> [StandingHalt] {
        database.state.withLock { $0.halts }
    }

    package func gaps(_ series: PriceSeries, from: Int64, to: Int64) async throws(StoreError) -> [FeedGap] {
        database.state.withLock { state in
            state.gaps.filter { $0.series == series && $0.to >= from && $0.from <= to }.sorted { $0.from < $1.from }
        }
    }

    package func add(_ gap: FeedGap) async throws(StoreError) {
        database.state.withLock { state in
            state.gaps.removeAll { $0.series == gap.series && $0.from == gap.from }
            state.gaps.append(gap)
        }
    }

    package func untoldGap() async throws(StoreError) -> FeedGap? {
        database.state.withLock { state in
            let told = state.toldGaps
            return state.gaps.filter { gap in
                guard gap.isBackfilled else { return !told.contains(gap) }
                let mine = told.filter { $0.series == gap.series }
                return mine.contains { $0.from == gap.from } && mine.isDisjoint(with: state.gaps)
            }.min { $0.from < $1.from }
        }
    }

    package func orders(across gap: FeedGap, after: OrderID?, limit: Int) async throws(StoreError) -> [OrderID] {
        database.state.withLock { state in
            let across = state.rows.values.filter { row in
                let armed = ArmedOrder(row.order)
                let series = PriceSeries(market: armed.market, source: armed.source)
                return armed.isLive && series == gap.series && row.order.createdAt.microseconds < gap.to
            }
            return Array(across.map(\.order.id).filter { id in after.map { id > $0 } ?? true }.sorted().prefix(limit))
        }
    }

    package func setTold(_ gap: FeedGap) async throws(StoreError) {
        database.state.withLock { state in
            if gap.isBackfilled {
                state.toldGaps = state.toldGaps.filter { $0.series != gap.series || $0.from != gap.from }
            } else {
                state.toldGaps.insert(gap)
            }
        }
    }
}
