// Orders for many readers: one query for all who ask for single orders at the same time, and a state that was read before
// is neither sent nor parsed again, be it of a single order or of a page.
//
// Tenants: every question names the accounts of its asker, which the statement compares row by row; its transaction is
// opened to the accounts of all who ask in it. What is kept is never told without the row that the database gave for the
// asker. Invariant: what is told is what is stored, by the id of the commit that wrote it: random, so a restored database
// with another history has another one. A row that cannot be read fails its own readers only.
// Limits: 128 MiB are kept by an estimate of 8 KiB and twice the stored text an order (its parts, what readers made of it),
// some 8,000 orders; what nobody asked for goes first.

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
typealias OrderAnswer = Result<ReadOrder?, StoreError>

final class ReadOrders: Sendable {
    private let kept: Locked<KeptOrders>

    /// - Parameter limit: bytes, by the estimate of `KeptOrders`.
    init(limit: Int = 128 << 20) { kept = Locked(KeptOrders(limit: limit)) }

    // MARK: Single orders

    /// Answers in the order of the questions.
    func read(_ asked: [OrderReader], _ pool: PostgresPool) async throws(StoreError) -> [OrderAnswer] {
        var places = ArrayColumn(.int8)
        var orders = ArrayColumn(.uuid)
        var accounts = ArrayColumn(.uuid)
        var commits = ArrayColumn(.int8)
        var seen: Set<AccountID> = []
        let known = kept.withLock { kept in asked.map { kept.find($0.order) } }
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
            for row in rows {
                let place = Int(try row.int64(0))
                do {
                    let note = try row.stringOrNil(3)
                    answers[place] = .success(try now(row, of: asked[place].order, known: known[place], note))
                } catch {
                    answers[place] = .failure(StoreError(.corruptRow, "\(error)"))
                }
            }
            return answers
        }
    }

    /// The order of a row: its own text, or what was read before of the same commit.
    private func now(_ row: Row, of id: OrderID, known: ReadOrder?, _ note: String?) throws -> ReadOrder {
        let commit = try row.int64(1)
        if let known, known.commit == commit, row.isNull(2) {
            return known.note == note ? known : keep(id, known.noted(note), textBytes: nil)
        }
        // Several who asked for it get one and the same.
        if let found = kept.withLock({ $0.find(id) }), found.commit == commit, found.note == note { return found }
        let state = try row.bytes(2)
        let order = ReadOrder(try StoredOrder(encodedState: state), commit: commit, note: note)
        return keep(id, order, textBytes: state.count)
    }

    // MARK: Pages

    /// The orders of a page.
    /// - Parameter rows: order, version, commit, note, in the page's order.
    func page(_ rows: Rows, of account: AccountID, _ pool: PostgresPool) async throws -> [ReadOrder] {
        let ids = try rows.map { OrderID(try $0.id(0)) }
        var found = kept.withLock { kept in ids.map { kept.find($0) } }
        var unknown: [Int] = []
        for (place, row) in rows.enumerated() {
            guard let known = found[place], known.commit == (try row.int64(2)) else {
                unknown.append(place)
                continue
            }
            let note = try row.stringOrNil(3)
            if known.note != note { found[place] = keep(ids[place], known.noted(note), textBytes: nil) }
        }
        guard !unknown.isEmpty else { return found.compactMap(\.self) }
        var places = ArrayColumn(.int8)
        var orders = ArrayColumn(.uuid)
        var versions = ArrayColumn(.int8)
        var commits = ArrayColumn(.int8)
        for place in unknown {
            found[place] = nil
            places.append(Int64(place))
            orders.append(ids[place].value)
            versions.append(try rows[place].int64(1))
            commits.append(try rows[place].int64(2))
        }
        let parameters = [
            places.parameter(), orders.parameter(), versions.parameter(), commits.parameter(), .uuid(account.value),
        ]
        for row in try await pool.query(OrderSQL.states, parameters) {
            let place = Int(try row.int64(0))
            let state = try row.bytes(1)
            let order = ReadOrder(
                try StoredOrder(encodedState: state),
                commit: try rows[place].int64(2),
                note: try rows[place].stringOrNil(3),
            )
            found[place] = keep(ids[place], order, textBytes: state.count)
        }
        // Events stay: one that is missing was of a history that ended between the two questions.
        guard !found.contains(where: { $0 == nil }) else {
            throw StoreError(.unavailable, "the history ended while a page was read")
        }
        return found.compactMap(\.self)
    }

    private func keep(_ id: OrderID, _ order: ReadOrder, textBytes: Int?) -> ReadOrder {
        kept.withLock { $0.keep(order, id, textBytes: textBytes) }
        return order
    }
}

/// The newest of what was read, in two halves: when the younger is full, the older goes.
struct KeptOrders {
    private struct Entry {
        let order: ReadOrder
        let bytes: Int
    }

    private let limit: Int
    private var younger: [OrderID: Entry] = [:]
    private var older: [OrderID: Entry] = [:]
    private var bytes = 0

    init(limit: Int) { self.limit = limit }

    mutating func find(_ id: OrderID) -> ReadOrder? {
        if let entry = younger[id] { return entry.order }
        guard let entry = older[id] else { return nil }
        put(entry, id)
        return entry.order
    }

    /// - Parameter textBytes: of the stored state; nil: as before.
    mutating func keep(_ order: ReadOrder, _ id: OrderID, textBytes: Int?) {
        let bytes = textBytes.map { (8 << 10) + 2 * $0 } ?? younger[id]?.bytes ?? older[id]?.bytes ?? (16 << 10)
        put(Entry(order: order, bytes: bytes), id)
    }

    private mutating func put(_ entry: Entry, _ id: OrderID) {
        if let replaced = younger.updateValue(entry, forKey: id) { bytes -= replaced.bytes }
        bytes += entry.bytes
        guard bytes > limit / 2 else { return }
        older = younger
        younger = [:]
        bytes = 0
    }
}
