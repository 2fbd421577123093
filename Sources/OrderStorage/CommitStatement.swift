// The columns of SQL/commit.sql, and the rows that a decision puts into them.

internal import JSONText
internal import OrderEngine
internal import OrderJSON
internal import PostgresClient
internal import SmartOrders

/// The parameters of the template, by their names there.
enum CommitColumn: Int, CaseIterable {
    case incarnation
    // One element per decision.
    case id, account, version, market, source, shard, kind, status, phase, health, isLatched, entered, exited
    case reserved, overExit, legs, positionTime, positionSeq, watches, wantsEveryTick, isBusy, dueAt, wantedLeg
    case wantedAttempt, createdAt, updatedAt, sends, fenceMs, commitId, cause, actorKind, actorId, tickSource, tickPrice
    case tickTime, tickSeq, facts, state, record, clientOrderId, whole, side, remaining
    // One element per idempotency key.
    case kPlace, kOwner, kKey, kHash, kStatus, kTag, kLocation, kBody
    // One element per intent.
    case iPlace, iLeg, iAttempt, iClientOrderId, iSide, iType, iQuantity, iLimit, iReduceOnly, iState, iFilled
    case iVenueOrderId, iCancelWanted, iIsExit, iCreatedAt, iToken, iSentAt, iFenceMs, iCheckMs
    // One element per fill.
    case fPlace, fId, fLeg, fAttempt, fQuantity, fPrice, fFee, fFeeAsset, fIsMaker, fAt
    // One element per job.
    case jPlace, jId, jName, jClass, jVersion, jAccount, jMarket, jSource, jTime, jSeq

    var element: ArrayColumn.Element {
        switch self {
        case .id, .account, .jAccount: .uuid
        case .wantedAttempt, .iAttempt, .fAttempt: .int4
        case .shard, .legs, .sends, .kStatus, .jClass: .int2
        case .incarnation, .version, .positionTime, .positionSeq, .fenceMs, .commitId, .tickTime, .tickSeq, .kPlace,
            .iPlace, .iToken, .iFenceMs, .iCheckMs, .fPlace, .jPlace, .jVersion, .jTime, .jSeq:
            .int8
        case .isLatched, .wantsEveryTick, .isBusy, .iReduceOnly, .iCancelWanted, .iIsExit, .fIsMaker: .bool
        case .dueAt, .createdAt, .updatedAt, .iCreatedAt, .iSentAt, .fAt: .timestamptz
        case .watches: .bytea
        case .market, .source, .kind, .status, .phase, .health, .entered, .exited, .reserved, .overExit, .wantedLeg,
            .cause,
            .actorKind, .actorId, .tickSource, .tickPrice, .facts, .state, .record, .clientOrderId, .whole, .side,
            .remaining, .kOwner,
            .kKey,
            .kHash, .kTag, .kLocation, .kBody, .iLeg, .iClientOrderId, .iSide, .iType, .iQuantity, .iLimit, .iState,
            .iFilled, .iVenueOrderId,
            .fId, .fLeg,
            .fQuantity, .fPrice, .fFee, .fFeeAsset, .jId, .jName, .jMarket, .jSource:
            .text
        }
    }

    /// Columns of keys, intents, fills and jobs: arrays also where there is one decision.
    var isOfChildren: Bool { rawValue >= CommitColumn.kPlace.rawValue }

    static let byName: [String: CommitColumn] = Dictionary(uniqueKeysWithValues: allCases.map { ("\($0)", $0) })
}

/// Which parts of the template a batch needs.
struct CommitParts: OptionSet {
    let rawValue: Int
    static let create = CommitParts(rawValue: 1)
    static let idempotency = CommitParts(rawValue: 2)
    static let intents = CommitParts(rawValue: 4)
    static let fills = CommitParts(rawValue: 8)
    static let jobs = CommitParts(rawValue: 16)
    /// One decision: the template without arrays.
    static let one = CommitParts(rawValue: 32)

    /// The statement of every combination, assembled once.
    static let statements: [(statement: Statement, columns: [CommitColumn])] = (0..<64).map { raw in
        let parts = CommitParts(rawValue: raw)
        var names: Set<String> = [parts.contains(.create) ? "create" : "update"]
        if parts.contains(.idempotency) { names.insert("idempotency") }
        if parts.contains(.intents) { names.insert("intents") }
        if parts.contains(.fills) { names.insert("fills") }
        if parts.contains(.jobs) { names.insert("jobs") }
        let template = parts.contains(.one) ? PackageResources.commit_one_sql : PackageResources.commit_sql
        let (sql, parameters) = SQLTemplate.assemble(template, parts: names)
        let columns = parameters.map { name in
            guard let column = CommitColumn.byName[name] else { preconditionFailure("commit.sql: unknown :\(name)") }
            return column
        }
        return (Statement(name: "commit.\(raw)", sql: sql), columns)
    }
}

/// A batch of decisions on its way into the statement. All create, or all update.
struct CommitBatch {
    private var columns = CommitColumn.allCases.map { ArrayColumn($0.element) }
    private var parts: CommitParts
    private let incarnation: Int64
    private(set) var place: Int64 = 0

    init(creating: Bool, incarnation: Int64) {
        parts = creating ? .create : []
        self.incarnation = incarnation
    }

    /// The statement and its parameters.
    consuming func finish() -> (Statement, [Parameter]) {
        let isOne = place == 1 && !parts.contains(.create)
        if isOne { parts.insert(.one) }
        let (statement, wanted) = CommitParts.statements[parts.rawValue]
        let parameters = wanted.map { column -> Parameter in
            if column == .incarnation { return .int8(incarnation) }
            return isOne && !column.isOfChildren
                ? columns[column.rawValue].onlyElement() : columns[column.rawValue].parameter()
        }
        return (statement, parameters)
    }

    private subscript(_ column: CommitColumn) -> ArrayColumn {
        get { columns[column.rawValue] }
        _modify { yield &columns[column.rawValue] }
    }

    /// Adds a decision. Decisions come in ascending order of account, then order.
    mutating func append(_ commit: Commit) {
        place += 1
        appendRow(commit)
        appendEvent(commit)
        if let key = commit.idempotency {
            parts.insert(.idempotency)
            self[.kPlace].append(place)
            self[.kOwner].append(key.owner)
            self[.kKey].append(key.key)
            self[.kHash].append(key.requestHash)
            self[.kStatus].append(key.answer.map { Int64($0.status) })
            self[.kTag].append(key.answer?.entityTag)
            self[.kLocation].append(key.answer?.location)
            if let answer = key.answer { self[.kBody].append(answer.body) } else { self[.kBody].appendNull() }
        }
        for intent in commit.venueOrders { appendIntent(intent, commit) }
        for (key, fill) in commit.fills { appendFill(key, fill) }
        for job in commit.jobs { appendJob(job) }
    }

    private mutating func appendRow(_ commit: Commit) {
        let order = commit.next
        let row = OrderRow(commit)
        self[.id].append(order.id.value)
        self[.account].append(order.account.value)
        self[.version].append(order.version)
        if parts.contains(.create) {
            self[.market].append(order.instrument.market.description)
            self[.shard].append(order.id.shard)
            self[.kind].append(order.kind.rawValue)
            self[.createdAt].append(order.createdAt)
            self[.clientOrderId].append(order.clientOrderID)
        }
        self[.whole].append(row.whole?.rawValue)
        self[.side].append(order.smart?.draft.side.rawValue)
        self[.remaining].append(order.smart?.remaining.value)
        self[.source].append(order.triggerSource.rawValue)
        self[.status].append(order.statusName)
        self[.phase].append(order.storedPhase)
        self[.health].append(order.health.rawValue)
        self[.isLatched].append(row.isLatched)
        self[.entered].append(row.entered.value)
        self[.exited].append(row.exited.value)
        self[.reserved].append(row.reserved.value)
        self[.overExit].append(row.overExit.value)
        self[.legs].append(row.legs)
        self[.positionTime].append(row.armed.position.venueTime)
        self[.positionSeq].append(row.armed.position.sequence)
        self[.watches].append(WatchCoding.encode(row.armed.watches, tickUnits: row.armed.tickUnits))
        self[.wantsEveryTick].append(row.armed.wantsEveryTick)
        self[.isBusy].append(row.armed.isBusy)
        self[.dueAt].append(row.armed.dueAt)
        self[.wantedLeg].append(row.wanted?.leg.description)
        self[.wantedAttempt].append(row.wanted.map { Int64($0.attempt) })
        self[.updatedAt].append(order.updatedAt)
        self[.sends].append(row.sends)
        self[.fenceMs].append(commit.sendRights.map(\.fenceMs).max() ?? 0)
    }

    private mutating func appendEvent(_ commit: Commit) {
        self[.commitId].append(commit.id)
        self[.cause].append(commit.cause.rawValue)
        self[.actorKind].append(commit.actor.kind.rawValue)
        self[.actorId].append(commit.actor.id)
        self[.tickSource].append(commit.tick?.source.rawValue)
        self[.tickPrice].append(commit.tick?.price.value)
        self[.tickTime].append(commit.tick?.position.venueTime)
        self[.tickSeq].append(commit.tick?.position.sequence)
        var writer = JSONWriter()
        writer.facts(commit.facts, from: commit.previous, to: commit.next)
        self[.facts].append(writer.take())
        self[.state].append(commit.next.encodedState())
        if commit.record.isEmpty {
            self[.record].appendNull()
        } else {
            self[.record].append(commit.record.encoded())
        }
    }

    private mutating func appendIntent(_ intent: VenueOrder, _ commit: Commit) {
        parts.insert(.intents)
        let right = commit.sendRights.first { $0.key == intent.key }
        self[.iPlace].append(place)
        self[.iLeg].append(intent.leg.description)
        self[.iAttempt].append(intent.attempt)
        self[.iClientOrderId].append(right?.clientOrderID)
        self[.iSide].append(intent.side.rawValue)
        self[.iType].append(intent.type.rawValue)
        self[.iQuantity].append(intent.quantity.value)
        self[.iLimit].append(intent.limit?.value)
        self[.iReduceOnly].append(intent.reduceOnly)
        self[.iState].append(intent.state.rawValue)
        self[.iFilled].append(intent.filled.value)
        self[.iVenueOrderId].append(intent.venueOrderID)
        self[.iCancelWanted].append(intent.cancelWanted)
        self[.iIsExit].append(commit.next.isExit(intent))
        self[.iCreatedAt].append(intent.createdAt)
        self[.iToken].append(right?.token)
        self[.iSentAt].append(right?.t0)
        self[.iFenceMs].append(right?.fenceMs)
        self[.iCheckMs].append(intent.checkDelayMs)
    }

    private mutating func appendFill(_ key: VenueOrderKey, _ fill: Fill) {
        parts.insert(.fills)
        self[.fPlace].append(place)
        self[.fId].append(fill.venueFillID)
        self[.fLeg].append(key.leg.description)
        self[.fAttempt].append(key.attempt)
        self[.fQuantity].append(fill.quantity.value)
        self[.fPrice].append(fill.price.value)
        self[.fFee].append(fill.fee)
        self[.fFeeAsset].append(fill.feeAsset.stored)
        self[.fIsMaker].append(fill.isMaker)
        self[.fAt].append(fill.time)
    }

    private mutating func appendJob(_ job: Job) {
        parts.insert(.jobs)
        self[.jPlace].append(place)
        self[.jId].append(job.id.description)
        self[.jName].append(job.name.rawValue)
        self[.jClass].append(job.jobClass.stored)
        self[.jVersion].append(job.version)
        self[.jAccount].append(job.account?.value)
        self[.jMarket].append(job.market?.description)
        self[.jSource].append(job.source?.rawValue)
        self[.jTime].append(job.position?.venueTime)
        self[.jSeq].append(job.position?.sequence)
    }
}

extension VenueOrder {
    /// When somebody should look, after the commit; nil: it has ended (RELIABILITY.md 0, 2.6).
    fileprivate var checkDelayMs: Int64? {
        switch state {
        case .intent: 1_000
        // Who sent it records the answer; only after a sender that died it has to be looked for.
        case .submitted: 1_000
        case .unknown, .cancelRequested: 250
        case .open, .partial: cancelWanted ? 250 : 60_000
        case .filled, .cancelled, .expired, .rejected, .notSent, .absent: nil
        }
    }
}
