// What operators see and change of the queue over HTTP (QUEUE.md 11, INTERFACES.md 4.12). Behind it stands what the
// operator's commands do: whoever asks, the same selection, the same bulk operations, the same lines of the audit.
//
// Rows are JSON objects. Every change may be made twice. Selections are bounded by their `limit`.

/// Which jobs an operator means; what is nil does not matter.
public struct JobSelection: Hashable, Sendable {
    public var ids: [String] = []
    /// `stops-03`, `stops` (all partitions), `03` (all classes) or `all`.
    public var queue = "all"
    /// `waiting`, `active`, `delayed`, `retry`, `completed`, `dead`.
    public var state: String?
    /// The last error contains it.
    public var error: String?
    public var errorClass: String?
    public var venue: String?
    public var symbol: String?
    public var account: String?
    public var order: String?
    /// 0 to 1023.
    public var shard: Int?
    public var leg: String?
    /// RFC 3339, or so long ago (`2h`), or milliseconds since 1970: when it failed last.
    public var since: String?
    public var until: String?
    public var olderThan: String?
    public var limit: Int?
    public var newestFirst = false
    public init() {}
}

/// What becomes of them.
public struct BulkWork: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable { case requeue, discard, promote }
    public var kind: Kind
    public var selection: JobSelection
    public var resetsAttempts = false
    /// Milliseconds.
    public var delayMs: Int64 = 0
    /// The class that they move to; nil: they stay in theirs.
    public var target: JobClass?
    /// Jobs a second; 0: as fast as it goes.
    public var rate = 0
    public init(kind: Kind, selection: JobSelection) {
        self.kind = kind
        self.selection = selection
    }
}

/// Why the queue was not asked, or did not do it.
public enum QueueControlError: Error, Hashable, Sendable {
    /// A store is away.
    case unavailable(String)
    /// Nothing has this name.
    case notFound
    /// The selection cannot be read, or a rule forbids it.
    case refused(String)
    /// It has moved on.
    case state(String)
}

public protocol QueueControl: Sendable {
    /// Counts, oldest job and pause of each queue that a selector means.
    func queues(_ selector: String) async throws(QueueControlError) -> [[UInt8]]
    /// - Parameter milliseconds: 0: until resumed, which `stops` never are.
    func pause(_ selector: String, milliseconds: Int64, _ note: OperatorNote) async throws(QueueControlError)
    func resume(_ selector: String, _ note: OperatorNote) async throws(QueueControlError)
    /// How many jobs were removed. What PostgreSQL still wants comes back.
    func drain(
        _ selector: String,
        includesDelayed: Bool,
        _ note: OperatorNote,
    ) async throws(QueueControlError) -> Int

    func jobs(_ selection: JobSelection) async throws(QueueControlError) -> [[UInt8]]
    func job(_ id: String) async throws(QueueControlError) -> [UInt8]
    /// The dead by error: count, first and last seen, sample, note.
    func deadGroups() async throws(QueueControlError) -> [[UInt8]]
    /// - Parameter text: empty removes it.
    func setNote(_ text: String, of code: String, _ note: OperatorNote) async throws(QueueControlError)

    /// How many jobs a work would touch, by error and by status of their orders, with samples.
    func preview(_ work: BulkWork) async throws(QueueControlError) -> (matched: Int, json: [UInt8])
    /// Stores what is to be done under an id; the same id again changes nothing. How many jobs there are.
    func begin(_ work: BulkWork, id: String, _ note: OperatorNote) async throws(QueueControlError) -> Int
    /// Does what is left of an operation, until it has ended. Two who do that at a time do no harm.
    func run(_ id: String, _ note: OperatorNote) async throws(QueueControlError)

    /// What a rebuild would offer and restore.
    func rebuildPreview() async throws(QueueControlError) -> [UInt8]
    /// Begins a new generation of the queue and fills it from PostgreSQL.
    func rebuild(_ note: OperatorNote) async throws(QueueControlError) -> [UInt8]
}
