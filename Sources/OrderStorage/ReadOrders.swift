// Single orders for many readers: one query for all who ask at the same time, and a state that was read before is neither
// sent nor parsed again.
//
// Tenants: every question names the accounts of its asker, which the statement compares row by row; its transaction is
// opened to the accounts of all who ask in it. What is kept is never told without the row that the database gave for the
// asker. Invariant: what is told is what is stored, by the id of the commit that wrote it: random, so a restored database
// with another history has another one. A row that cannot be read fails its own readers only. Limits: 4,096 orders are
// kept.

internal import OrderEngine
internal import OrderJSON
internal import OwnerThread
internal import PostgresClient
internal import SmartOrders

/// Somebody who wants to see an order.
struct OrderReader: Sendable {
    let order: OrderID
    /// The asker's own.
    let accounts: [AccountID]
}

/// Nil: there is none that the reader may see.
typealias OrderAnswer = Result<StoredOrder?, StoreError>

final class ReadOrders: Sendable {
    private struct Kept {
        let commit: Int64
        let order: StoredOrder
    }

    private static let maximumKept = 4_096
    private let kept = Locked<[OrderID: Kept]>([:])

    /// Answers in the order of the questions.
    func read(_ asked: [OrderReader], _ pool: PostgresPool) async throws(StoreError) -> [OrderAnswer] {
        var places = ArrayColumn(.int8)
        var orders = ArrayColumn(.uuid)
        var accounts = ArrayColumn(.uuid)
        var commits = ArrayColumn(.int8)
        var seen: Set<AccountID> = []
        let known = kept.withLock { kept in asked.map { kept[$0.order] } }
        for (place, reader) in asked.enumerated() {
            for account in reader.accounts {
                places.append(Int64(place))
                orders.append(reader.order.value)
                accounts.append(account.value)
                commits.append(known[place]?.commit)
            }
            seen.formUnion(reader.accounts)
        }
        let parameters = [places.parameter(), orders.parameter(), accounts.parameter(), commits.parameter()]
        let visible = seen.sorted()
        return try await reading {
            let rows = try await Tenancy.$accounts.withValue(visible) {
                try await pool.query(OrderSQL.current, parameters)
            }
            var answers = [OrderAnswer](repeating: .success(nil), count: asked.count)
            var fresh: [OrderID: Kept] = [:]
            for row in rows {
                let place = Int(try row.int64(0))
                let order = asked[place].order
                do {
                    let now = try Self.now(row, known: known[place], fresh: fresh[order])
                    if now.commit != known[place]?.commit { fresh[order] = now }
                    answers[place] = .success(now.order.noted(row.isNull(3) ? nil : try row.string(3)))
                } catch {
                    answers[place] = .failure(StoreError(.corruptRow, "\(error)"))
                }
            }
            keep(fresh)
            return answers
        }
    }

    /// The order of a row: its own text, or what was read before of the same commit.
    private static func now(_ row: Row, known: Kept?, fresh: Kept?) throws -> Kept {
        let commit = try row.int64(1)
        if let known, known.commit == commit, row.isNull(2) { return known }
        if let fresh, fresh.commit == commit { return fresh }
        return Kept(commit: commit, order: try StoredOrder(encodedState: row.bytes(2)))
    }

    private func keep(_ fresh: [OrderID: Kept]) {
        guard !fresh.isEmpty else { return }
        kept.withLock { kept in
            if kept.count + fresh.count > Self.maximumKept { kept = [:] }
            kept.merge(fresh) { _, new in new }
        }
    }
}

extension StoredOrder {
    /// With what a trader wrote since; nil: nothing.
    func noted(_ note: String?) -> StoredOrder {
        guard let note, case .smart(var order) = self else { return self }
        order.draft.note = note.isEmpty ? nil : note
        return .smart(order)
    }
}
