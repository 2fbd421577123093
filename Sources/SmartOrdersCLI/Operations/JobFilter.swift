// Which jobs an operator means (INTERFACES.md 4.2).
import ArgumentParser
import JSONText
import OrderEngine
import OrderJSON
import SmartOrders
import TriggerQueue

struct JobFilter: ParsableArguments {
    @Option(parsing: .upToNextOption, help: "Explicit jobs.")
    var id: [String] = []
    @Option(help: "A file with one job id a line; - is standard input.")
    var idsFrom: String?
    @Option(help: "stops-03, stops, 03 or all.")
    var queue = "all"
    @Option(help: "Partition, 00 to 15.")
    var partition: Int?
    @Option(help: "waiting, active, delayed, retry, completed, dead (failed), stalled.")
    var state: String?
    @Option(help: "Regular expression on the last error.")
    var error: String?
    @Option(help: "Code of the last error, such as VENUE_DOWN.")
    var errorClass: String?
    @Option(help: "Venue of the market.")
    var venue: String?
    @Option(help: "Symbol of the market.")
    var symbol: String?
    @Option(help: "Account id.")
    var account: String?
    @Option(help: "Order id.")
    var order: String?
    @Option(help: "Shard of the order, 0 to 1023.")
    var shard: Int?
    @Option(help: "Leg, such as sl or tp1.")
    var leg: String?
    @Option(help: "Failed at or after this time: 2026-11-21T03:00:00Z, 2h (ago), or ms since 1970.")
    var since: String?
    @Option(help: "Failed before this time, as --since.")
    var until: String?
    @Option(help: "Failed longer ago than this, such as 10m.")
    var olderThan: String?
    @Option(help: "At most so many.")
    var limit: Int?
    @Option(name: .customLong("sort"), help: "oldest or newest first.")
    var sorting = Sorting.oldest

    enum Sorting: String, ExpressibleByArgument { case oldest, newest }

    /// Names what was asked for, for the record.
    var json: JSONObject {
        var object = JSONObject()
        if !id.isEmpty { object["id"] = .array(id.map { .string($0) }) }
        object["queue"] = .string(queue)
        for (name, value) in [
            ("idsFrom", idsFrom), ("state", state), ("error", error), ("errorClass", errorClass), ("venue", venue),
            ("symbol", symbol), ("account", account), ("order", order), ("leg", leg), ("olderThan", olderThan),
            ("since", since), ("until", until),
        ] {
            if let value { object[name] = .string(value) }
        }
        for (name, value) in [
            ("partition", partition.map(Int64.init)), ("shard", shard.map(Int64.init)),
            ("limit", limit.map(Int64.init)),
        ] {
            if let value { object[name] = .number("\(value)") }
        }
        return object
    }

    /// Nothing narrows it down.
    var isBare: Bool {
        id.isEmpty && idsFrom == nil && error == nil && errorClass == nil && venue == nil && symbol == nil
            && account == nil && order == nil && shard == nil && leg == nil && since == nil && until == nil
            && olderThan == nil && limit == nil && queue == "all" && partition == nil
    }

    /// Milliseconds since 1970 of a moment, or of so long before `now`.
    static func time(_ text: String, now: Int64) throws -> Int64 {
        if let number = Int64(text) { return number }
        if let moment = Timestamp(rfc3339: text) { return moment.milliseconds }
        do { return now - (try milliseconds(text)) } catch {
            throw Failure(
                .usage,
                "TIME",
                "\(text) is no time.",
                hint: "2026-11-21T03:00:00Z, 2h (ago), or ms since 1970",
            )
        }
    }

    func state(or standard: JobState) throws -> JobState {
        guard let state else { return standard }
        if state == "failed" { return .dead }
        if state == "stalled" { return .active }
        guard let known = JobState(rawValue: state) else {
            throw Failure(
                .usage,
                "STATE",
                "\(state) is no state.",
                hint: (JobState.allCases.map(\.rawValue) + ["failed", "stalled"]).joined(separator: ", "),
            )
        }
        return known
    }

    /// What of the fields a job is judged by; checked once, before anything is read.
    func matcher(now: Int64) throws -> @Sendable (JobRecord) -> Bool {
        let pattern: Regex<AnyRegexOutput>?
        do {
            pattern = try self.error.map { try Regex($0) }
        } catch {
            throw Failure(.usage, "REGEX", "--error is no regular expression: \(error)")
        }
        let text = self.error
        let oldest = try olderThan.map { now - (try milliseconds($0)) }
        let first = try since.map { try Self.time($0, now: now) }
        let end = try until.map { try Self.time($0, now: now) }
        let filter = self
        let hasPattern = pattern != nil
        return { record in
            if let code = filter.errorClass, record.errorCode != code { return false }
            if hasPattern {
                // Compiled anew: a compiled expression may not cross tasks.
                guard let text, let reason = record.reason, let pattern = try? Regex(text),  // tidy-ok: compiled before
                    reason.contains(pattern)
                else { return false }
            }
            if let first, record.endedAt ?? 0 < first { return false }
            if let end, record.endedAt ?? .max >= end { return false }
            if let oldest, record.endedAt ?? .max >= oldest { return false }
            if filter.order != nil || filter.shard != nil || filter.leg != nil {
                guard let id = JobID(record.id) else { return false }
                if let order = filter.order, "\(id.order)" != order { return false }
                if let shard = filter.shard, id.order.shard != shard { return false }
                if let leg = filter.leg, "\(id.leg)" != leg { return false }
            }
            if filter.venue != nil || filter.symbol != nil || filter.account != nil {
                let payload = JobText.job(
                    id: record.id,
                    name: record.name,
                    data: record.data,
                    jobClass: record.queue.jobClass,
                )
                if let venue = filter.venue, payload?.market?.venue != venue { return false }
                if let symbol = filter.symbol, payload?.market?.symbol != symbol { return false }
                if let account = filter.account, payload?.account.map({ "\($0)" }) != account { return false }
            }
            return true
        }
    }

    /// Explicit ids of the flags and the file.
    func explicitIDs() throws -> [String] {
        guard let idsFrom else { return id }
        var text = ""
        if idsFrom == "-" {
            while let line = readLine(strippingNewline: false) { text += line }
        } else {
            guard let bytes = DevOrderFile.contents(idsFrom) else {
                throw Failure(.usage, "IDS_FILE", "\(idsFrom) cannot be read.")
            }
            text = String(decoding: bytes, as: UTF8.self)
        }
        return id + text.split(whereSeparator: \.isWhitespace).map(String.init)
    }

    /// Finds the jobs and hands them on in pages of at most 500, in the filter's order.
    func find(_ desk: Operator, _ state: JobState, _ page: ([JobRecord]) async throws -> Void) async throws {
        let now = try await desk.queue.serverTime()
        let matches = try matcher(now: now)
        var queues = try desk.queues(queue)
        if let partition { queues = queues.filter { $0.partition == partition } }
        let explicit = try explicitIDs()
        var left = limit ?? .max
        func hand(_ ids: [String], _ queue: QueueAddress) async throws {
            let found = try await desk.queue.records(ids, in: queue).filter(matches).prefix(left)
            left -= found.count
            if !found.isEmpty { try await page(Array(found)) }
        }
        if !explicit.isEmpty || idsFrom != nil {
            for one in queues {
                // An order's jobs lie in its partition; foreign ids may lie anywhere.
                let here = explicit.filter { id in
                    JobID(id).map { QueuePartitions.partition(of: $0.order, count: desk.queue.options.partitions) }
                        ?? one.partition == one.partition
                }
                for start in stride(from: 0, to: here.count, by: 500) where left > 0 {
                    let ids = Array(here[start..<min(start + 500, here.count)])
                    var present: [String] = []
                    for part in stride(from: 0, to: ids.count, by: 100) {
                        let some = Array(ids[part..<min(part + 100, ids.count)])
                        let states = try await desk.queue.audit(some, in: one)
                        present += zip(some, states).filter { $1 == state.rawValue }.map(\.0)
                    }
                    try await hand(present, one)
                }
            }
            return
        }
        for one in queues where left > 0 {
            // Read whole before anything moves: ranks shift under a reader.
            var ids: [String] = []
            while true {
                let some = try await desk.queue.ids(in: one, state, from: ids.count, limit: 10_000)
                ids += some
                if some.count < 10_000 { break }
            }
            if sorting == .newest { ids.reverse() }
            for start in stride(from: 0, to: ids.count, by: 500) where left > 0 {
                try await hand(Array(ids[start..<min(start + 500, ids.count)]), one)
            }
        }
    }
}
