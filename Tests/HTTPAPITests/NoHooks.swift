import OrderEngine
import SmartOrders

/// Keeps no endpoint: what is kept is tested with PostgreSQL.
struct NoWebhooks: WebhookStore {
    private static var absent: StoreError { StoreError(.unavailable, "not kept in memory") }
    func webhooks(of user: UniqueID) async throws(StoreError) -> [Webhook] { [] }
    func add(_ webhook: Webhook, sealed: [UInt8], answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome? {
        throw Self.absent
    }
    func update(_ webhook: Webhook) async throws(StoreError) -> Bool { throw Self.absent }
    func deleteWebhook(_ id: UniqueID, of user: UniqueID) async throws(StoreError) -> Bool { throw Self.absent }
    func rotate(
        _ id: UniqueID,
        of user: UniqueID,
        sealed: [UInt8],
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome { throw Self.absent }
    func enable(_ id: UniqueID, of user: UniqueID, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome {
        throw Self.absent
    }
    func deliveries(
        of webhook: UniqueID,
        accounts: [AccountID],
        before: UniqueID?,
        limit: Int,
    ) async throws(StoreError) -> [WebhookDelivery] { throw Self.absent }
    func delivery(
        _ id: UniqueID,
        of webhook: UniqueID,
        accounts: [AccountID],
    ) async throws(StoreError) -> WebhookDelivery? { throw Self.absent }
    func add(_ delivery: WebhookDelivery, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome {
        throw Self.absent
    }
    func resend(_ delivery: WebhookDelivery, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome {
        throw Self.absent
    }
}

/// Keeps no link.
struct NoHooks: HookStore {
    private static var absent: StoreError { StoreError(.unavailable, "not kept in memory") }
    func hooks(of accounts: [AccountID]) async throws(StoreError) -> [Hook] { [] }
    func add(_ hook: Hook, audit: AuditLine, answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome? {
        throw Self.absent
    }
    func update(_ hook: Hook, audit: AuditLine) async throws(StoreError) -> Bool { throw Self.absent }
    func deleteHook(_ id: UniqueID, of accounts: [AccountID], audit: AuditLine) async throws(StoreError) -> Bool {
        throw Self.absent
    }
    func hook(tokenHash: String) async throws(StoreError) -> Hook? { nil }
    func receive(
        _ call: HookCall,
        of hook: Hook,
        name: String,
        isForEver: Bool,
    ) async throws(StoreError) -> HookReceipt { throw Self.absent }
    func calls(
        of hook: UniqueID,
        accounts: [AccountID],
        before: UniqueID?,
        limit: Int,
    ) async throws(StoreError) -> [HookCall] { throw Self.absent }
    func takeCall() async throws(StoreError) -> HookCall? { nil }
    func hook(_ id: UniqueID, of account: AccountID) async throws(StoreError) -> Hook? { nil }
    func settle(_ call: HookCall) async throws(StoreError) { throw Self.absent }
}

/// Shows operators nothing.
struct NoOperators: OperatorStore {
    private static var absent: StoreError { StoreError(.unavailable, "not kept in memory") }
    func rows(
        _ list: OperatorList,
        subject: String?,
        after: String?,
        limit: Int,
    ) async throws(StoreError) -> [OperatorRow] { [] }
    func act(
        _ action: OperatorAction,
        audit: OperatorAudit,
        answer: StoredAnswer,
    ) async throws(StoreError) -> AnswerOutcome { throw Self.absent }
    func act(_ action: OperatorAction, audit: OperatorAudit) async throws(StoreError) { throw Self.absent }
    func keep(_ answer: StoredAnswer) async throws(StoreError) -> AnswerOutcome { throw Self.absent }
    func verifyAudit() async throws(StoreError) -> AuditVerdict { AuditVerdict(lines: 0, broken: nil) }
    func account(of order: OrderID) async throws(StoreError) -> AccountID? { nil }
    func account(_ id: AccountID) async throws(StoreError) -> Account? { nil }
    func liveRequest(of account: AccountID) async throws(StoreError) -> Int64? { nil }
}

struct NoControl: ClusterControl {
    func workers() async throws(StoreError) -> [WorkerStanding] { [] }
    func restartFeed(_ feed: String, _ note: OperatorNote) async throws(StoreError) -> Bool { false }
    func askBackfill(
        of series: PriceSeries,
        from: Timestamp,
        to: Timestamp,
        _ note: OperatorNote,
    ) async throws(StoreError) {}
    func setConcurrency(
        _ concurrency: Int,
        of worker: WorkerID,
        _ note: OperatorNote,
    ) async throws(StoreError) -> Bool { false }
    func setQuiet(_ isQuiet: Bool, of worker: WorkerID, _ note: OperatorNote) async throws(StoreError) -> Bool { false }
    func stop(_ worker: WorkerID, _ note: OperatorNote) async throws(StoreError) -> Bool { false }
    func leader() async throws(StoreError) -> (worker: WorkerID?, epoch: Int64) { (nil, 0) }
    func resignLeader(_ note: OperatorNote) async throws(StoreError) -> WorkerID? { nil }
    func shards() async throws(StoreError) -> [ShardStanding] { [] }
    func pin(_ shards: [Int], to worker: WorkerID, _ note: OperatorNote) async throws(StoreError) -> Bool { false }
    func unpin(_ note: OperatorNote) async throws(StoreError) -> Int { 0 }
    func halts() async throws(StoreError) -> [HaltRecord] { [] }
    func isKnown(_ scope: HaltInForce.Scope, _ subject: String) async throws(StoreError) -> Bool { false }
    func set(_ halt: HaltInForce, _ note: OperatorNote) async throws(StoreError) {}
    func lift(_ halt: HaltRecord, _ note: OperatorNote) async throws(StoreError) -> Bool { false }
    func attention(after: OrderID?, limit: Int) async throws(StoreError) -> [OrderID] { [] }
}

/// A queue that is not there.
struct NoQueueControl: QueueControl {
    private static var absent: QueueControlError { .unavailable("no queue here") }
    func queues(_ selector: String) async throws(QueueControlError) -> [[UInt8]] { throw Self.absent }
    func pause(_ selector: String, milliseconds: Int64, _ note: OperatorNote) async throws(QueueControlError) {
        throw Self.absent
    }
    func resume(_ selector: String, _ note: OperatorNote) async throws(QueueControlError) { throw Self.absent }
    func drain(
        _ selector: String,
        includesDelayed: Bool,
        _ note: OperatorNote,
    ) async throws(QueueControlError) -> Int { throw Self.absent }
    func jobs(_ selection: JobSelection) async throws(QueueControlError) -> [[UInt8]] { throw Self.absent }
    func job(_ id: String) async throws(QueueControlError) -> [UInt8] { throw Self.absent }
    func deadGroups() async throws(QueueControlError) -> [[UInt8]] { throw Self.absent }
    func setNote(_ text: String, of code: String, _ note: OperatorNote) async throws(QueueControlError) {
        throw Self.absent
    }
    func preview(_ work: BulkWork) async throws(QueueControlError) -> (matched: Int, json: [UInt8]) {
        throw Self.absent
    }
    func begin(_ work: BulkWork, id: String, _ note: OperatorNote) async throws(QueueControlError) -> Int {
        throw Self.absent
    }
    func run(_ id: String, _ note: OperatorNote) async throws(QueueControlError) { throw Self.absent }
    func rebuildPreview() async throws(QueueControlError) -> [UInt8] { throw Self.absent }
    func rebuild(_ note: OperatorNote) async throws(QueueControlError) -> [UInt8] { throw Self.absent }
}
