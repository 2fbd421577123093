// A job as its hash holds it (QUEUE.md 3.2, 3.3): ids and a position; no price, no quantity, no secret.
internal import JSONText
package import OrderEngine
internal import SmartOrders

package enum JobText {
    /// The most bytes of a payload; a larger foreign one is not decoded.
    package static let longestPayload = 8_192
    /// The most bytes of a reason.
    static let longestReason = 500

    /// The field `data`.
    package static func payload(_ job: Job) -> [UInt8] {
        var json = JSONWriter(reserving: 320)
        json.beginObject()
        json.key("v")
        json.integer(1)
        json.key("order")
        json.string(job.id.order.description)
        json.key("leg")
        json.string(job.id.leg.description)
        json.key("attempt")
        json.integer(job.id.attempt)
        json.key("version")
        json.integer(job.version)
        if let account = job.account {
            json.key("account")
            json.string(account.description)
        }
        if let market = job.market {
            json.key("market")
            json.string(market.description)
        }
        if let source = job.source, let position = job.position {
            json.key("tick")
            json.beginObject()
            json.key("source")
            json.string(source.rawValue)
            // Microseconds since 1970, as a string: JavaScript readers would round the number.
            json.key("venueTime")
            json.string(String(position.venueTime))
            json.key("sequence")
            json.integer(position.sequence)
            if let times = job.times {
                if let received = times.receivedAt {
                    json.key("receivedAt")
                    json.string(String(received.microseconds))
                }
                json.key("crossedAt")
                json.string(String(times.crossedAt.microseconds))
            }
            json.endObject()
        }
        json.endObject()
        return json.take()
    }

    /// Reads a job back; nil when the id, the name or the payload is not ours. Unknown keys are ignored.
    package static func job(id: String, name: String, data: [UInt8], jobClass: JobClass) -> Job? {
        var memory = JobTextReader.Memory()
        return job(id: id, name: name, data: data, jobClass: jobClass, memory: &memory)
    }

    /// - Parameter memory: one for jobs that are read one after the other.
    static func job(
        id: String,
        name: String,
        data: [UInt8],
        jobClass: JobClass,
        memory: inout JobTextReader.Memory,
    ) -> Job? {
        guard data.count <= longestPayload, let jobID = JobID(id), let name = Job.Name(rawValue: name) else {
            return nil
        }
        if let job = JobTextReader.job(id: jobID, name: name, data: data, jobClass: jobClass, memory: &memory) {
            return job
        }
        let root: JSONField
        do throws(JSONError) {
            root = JSONField(try JSONValue(parsing: data))
            guard try root.int("v") == 1, try root.string("order") == jobID.order.description,
                try root.string("leg") == jobID.leg.description, try root.int("attempt") == jobID.attempt
            else { return nil }
            let account = try root.optional("account")?.parsed(.wrongType, expected: "an account") { AccountID($0) }
            let market = try root.optional("market")?.parsed(.wrongType, expected: "a market") { MarketID($0) }
            var source: TriggerSource?
            var position: TickPosition?
            var times: CrossingTimes?
            func time(_ field: JSONField) throws(JSONError) -> Timestamp {
                try field.parsed(.wrongType, expected: "a time") { Int64($0).map(Timestamp.init(microseconds:)) }
            }
            if let tick = try root.optional("tick") {
                source = try tick.required("source").choice(TriggerSource.self)
                position = TickPosition(
                    venueTime: try tick.required("venueTime").parsed(.wrongType, expected: "a time") { Int64($0) },
                    sequence: try tick.int64("sequence"),
                )
                if let crossed = try tick.optional("crossedAt") {
                    var received: Timestamp?
                    if let field = try tick.optional("receivedAt") { received = try time(field) }
                    times = CrossingTimes(receivedAt: received, crossedAt: try time(crossed))
                }
            }
            return Job(
                id: jobID,
                name: name,
                jobClass: jobClass,
                version: try root.int64("version"),
                account: account,
                market: market,
                source: source,
                position: position,
                times: times,
            )
        } catch {
            // The caller ends it as undecodable; what exactly is wrong with a forged body is of no use.
            return nil
        }
    }

    /// The field `opts`: what foreign boards and workers may know. Ours decide by class and do not read it.
    static func options(_ jobClass: JobClass) -> String {
        switch jobClass {
        case .stops: optionsOfStops
        case .targets: optionsOfTargets
        case .housekeeping: optionsOfHousekeeping
        }
    }

    /// What `finish` stores: the field `returnvalue` or `failedReason`.
    static func value(_ outcome: JobOutcome) -> String {
        switch outcome {
        case .done(let version): "{\"outcome\":\"done\",\"version\":\(version)}"
        case .obsolete(let version): "{\"outcome\":\"obsolete\",\"version\":\(version)}"
        case .retry(_, let reason), .dead(let reason): cut(reason)
        }
    }

    /// At most `longestReason` bytes, at a character's end.
    static func cut(_ reason: String) -> String {
        guard reason.utf8.count > longestReason else { return reason }
        var text = ""
        var count = 0
        for character in reason {
            count += character.utf8.count
            if count > longestReason { break }
            text.append(character)
        }
        return text
    }

    private static let optionsOfStops = optionsText(attempts: 1_000_000, delayMs: 250)
    private static let optionsOfTargets = optionsText(attempts: 25, delayMs: 250)
    private static let optionsOfHousekeeping = optionsText(attempts: 12, delayMs: 1_000)

    private static func optionsText(attempts: Int, delayMs: Int) -> String {
        "{\"attempts\":\(attempts),\"backoff\":{\"type\":\"exponential\",\"delay\":\(delayMs),\"jitter\":0.2},"
            + "\"removeOnComplete\":{\"age\":900}}"
    }
}
