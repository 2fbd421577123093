// An order as its readers see it.

public import OwnerThread
public import SmartOrders

/// An order with its trader's note, shared by all who read it while it is the same. A class, because an order is wide:
/// a page of them is handed on as references.
public final class ReadOrder: Sendable {
    /// Nil: it is a conditional order.
    public let smart: SmartOrder?
    /// Nil: it is a smart order.
    public let conditional: ConditionalOrder?
    /// The commit that wrote it: random, so another history of the database has another one. Nil: the store tells none.
    public let commit: Int64?
    /// What the trader wrote since that commit; nil: nothing. It is in the order already.
    public let note: String?
    /// What a reader made of it, for the next one: it goes when the order goes.
    public let made = Locked<(any Sendable)?>(nil)

    /// The note that the commit itself has.
    private let writtenNote: String?

    /// - Parameter order: as it was written.
    public init(_ order: StoredOrder, commit: Int64? = nil, note: String? = nil) {
        switch order {
        case .smart(var order):
            writtenNote = order.draft.note
            if let note { order.draft.note = note.isEmpty ? nil : note }
            smart = order
            conditional = nil
        case .conditional(let order):
            writtenNote = nil
            smart = nil
            conditional = order
        }
        self.commit = commit
        self.note = note
    }

    /// The same commit with another note, or without one.
    public func noted(_ note: String?) -> ReadOrder {
        var written = stored
        if case .smart(var order) = written {
            order.draft.note = writtenNote
            written = .smart(order)
        }
        return ReadOrder(written, commit: commit, note: note)
    }

    public var stored: StoredOrder {
        if let smart { return .smart(smart) }
        guard let conditional else { preconditionFailure("an order of neither kind") }
        return .conditional(conditional)
    }

    public var id: OrderID { smart?.id ?? stored.id }
    public var version: Int64 { smart?.version ?? stored.version }
    public var account: AccountID { smart?.account ?? stored.account }
    public var updatedAt: Timestamp { smart?.updatedAt ?? stored.updatedAt }
}
