// The figures of `QueueBenchmark` as one JSON object: medians, then the raw rounds.
internal import JSONText

extension QueueBenchmark {
    public func json(pretty: Bool = false) -> String {
        var root = JSONObject()
        root["bench"] = .string("queue")
        root["redis_version"] = .string(serverVersion)
        root["lives"] = .array(comparisons.map { .object(row($0)) })
        var bytes = JSONObject()
        bytes["ours"] = .integer(memory.ours)
        bytes["official"] = memory.official.map { .integer($0) } ?? .null
        root["memory_bytes_per_waiting_job"] = .object(bytes)
        var latency = JSONObject()
        latency["samples"] = .integer(idle.samples)
        latency["p50_us"] = .integer(idle.p50Microseconds)
        latency["p99_us"] = .integer(idle.p99Microseconds)
        latency["max_us"] = .integer(idle.maximumMicroseconds)
        root["idle_offer_to_start"] = .object(latency)
        return String(decoding: JSONValue.object(root).serialized(pretty: pretty), as: UTF8.self)
    }

    private func row(_ comparison: Comparison) -> JSONObject {
        var row = JSONObject()
        row["batch"] = .integer(comparison.way.batch)
        row["partitions"] = .integer(comparison.way.partitions)
        row["events"] = .string(comparison.way.events.rawValue)
        row["ours"] = side(comparison.ours)
        row["official"] = side(comparison.official)
        let (ours, official) = (median(comparison.ours), median(comparison.official))
        if let ours, let official, ours.redisNanosecondsPerJob > 0 {
            let tenths = official.redisNanosecondsPerJob * 10 / ours.redisNanosecondsPerJob
            row["official_to_ours_cpu"] = .number("\(tenths / 10).\(tenths % 10)")
        }
        return row
    }

    private func side(_ rounds: [Round]) -> JSONValue {
        guard let middle = median(rounds) else { return .null }
        var side = figures(middle)
        side["rounds"] = .array(rounds.map { .object(figures($0)) })
        return .object(side)
    }

    private func figures(_ round: Round) -> JSONObject {
        var figures = JSONObject()
        figures["jobs"] = .integer(round.jobs)
        figures["jobs_per_second"] = .integer(round.runsPerSecond)
        figures["offers_per_second"] = .integer(round.offersPerSecond)
        figures["redis_cpu_ns_per_job"] = .integer(round.redisNanosecondsPerJob)
        return figures
    }

    /// By CPU.
    private func median(_ rounds: [Round]) -> Round? {
        rounds.isEmpty
            ? nil : rounds.sorted { $0.redisNanosecondsPerJob < $1.redisNanosecondsPerJob }[rounds.count / 2]
    }
}
