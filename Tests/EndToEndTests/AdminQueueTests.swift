import JSONText
import PostgresClient
import RedisClient
import SmartOrders
import TestKit
import Testing
import TriggerQueue

extension EndToEnd {
    /// The queue over HTTP, on real stores: what the operator's commands do, by the same hands (INTERFACES.md 4.12).
    @Suite struct AdminQueueTests {
        @Test func `queues are paused, jobs requeued and Redis rebuilt over HTTP`() async throws {
            try await Deployment.run(workers: 1, schedulers: 1) { deployment in
                _ = try await deployment.rows("UPDATE api_keys SET scopes = '{read,trade,operate,admin}' RETURNING 1")
                func post(_ path: String, _ body: String, _ key: String) async throws -> Deployment.Answer {
                    try await deployment.request(
                        "POST",
                        "/v1/admin" + path,
                        body,
                        headers: ["Idempotency-Key": key],
                    )
                }
                func get(_ path: String) async throws -> JSONValue {
                    try await deployment.request("GET", "/v1/admin" + path).json
                }
                func first(_ json: JSONValue) -> JSONValue? {
                    guard case .array(let items)? = json["items"] else { return nil }
                    return items.first
                }
                let why = #"{"reason": "drill"}"#
                let paused = try await eventually("the key's scopes are seen") {
                    let answer = try await post("/queues/targets-03/pause", why, "p")
                    return answer.status == 403 ? nil : answer
                }
                #expect(paused.status == 200, "\(paused.json)")
                let seen = first(try await get("/queues/targets-03"))
                #expect(
                    seen?["paused"] == .bool(true) && seen?["pauseReason"]?.text == "drill",
                    "\(String(describing: seen))",
                )
                let forEver = try await post("/queues/stops/pause", why, "s")
                #expect(forEver.status == 400, "\(forEver.json)")
                #expect(try await post("/queues/moon/pause", why, "m").status == 404)
                #expect(try await post("/queues/all/resume", why, "r").status == 200)
                #expect(first(try await get("/queues/targets-03"))?["paused"] == .bool(false))

                // A dead job of an order that is gone.
                let order = OrderID.sample(7)
                let base = "bull:{\(QueuePartitions.tags[QueuePartitions.partition(of: order, count: 8)])}-stops:"
                let script = """
                    redis.call('HSET', KEYS[1] .. ARGV[1], 'name', 'trigger', 'data', '{}', 'opts', '{}', 'timestamp', '1',
                        'delay', '0', 'priority', '0', 'atm', '3', 'ats', '3', 'finishedOn', '2', 'failedReason',
                        'VENUE_DOWN: timed out (504)')
                    return redis.call('ZADD', KEYS[1] .. 'failed', 2, ARGV[1])
                    """
                let job = "\(order)-sl-1"
                _ = try await deployment.redis.send(RedisCommand("EVAL", script, "1", base, job))
                #expect(first(try await get("/jobs?error=out%20(504)"))?["id"]?.text == job)
                #expect(first(try await get("/dead-groups"))?["error"]?.text == "VENUE_DOWN")
                #expect(try await get("/jobs/\(job)")["state"]?.text == "dead")
                let body = #"{"reason": "back", "errorClass": "VENUE_DOWN"}"#
                let begun = try await post("/jobs/requeue", body, "b")
                #expect(begun.status == 202 && begun.json["matched"]?.int64 == 1, "\(begun.json)")
                let id = try #require(begun.json["id"]?.text)
                let batch = try await eventually("the batch has ended") {
                    let batch = try await get("/batches/\(id)")
                    // Not `nil`, which as JSON is a value too.
                    return batch["state"]?.text == "done" ? .some(batch) : .none
                }
                #expect(batch["obsolete"]?.int64 == 1, "\(batch)")
                #expect(try await post("/jobs/requeue", body, "b").isReplayed)
                let none = try await get("/jobs?error=504")
                #expect(first(none) == nil, "\(none)")

                let generation = "SELECT queue_generation FROM control"
                let before = try await deployment.number(generation)
                let rebuilt = try await post("/redis/rebuild", why, "g")
                #expect(rebuilt.status == 200, "\(rebuilt.json)")
                #expect(try await deployment.number(generation) == before + 1)
                let lines = try await deployment.rows(
                    "SELECT action FROM audit WHERE via = 'api' ORDER BY id"
                ).map { try $0.string(0) }
                for action in ["queues.pause", "queues.resume", "jobs.requeue", "redis.rebuild"] {
                    #expect(lines.contains(action), "\(lines)")
                }
                // The scheduler and its workers go on with the new generation.
                _ = try await eventually("the queue takes what is offered") {
                    first(try await get("/queues/stops-03"))?["waiting"]?.int64 == 0 ? true : nil
                }
                #expect(try await get("/config")["items"] != nil)
                #expect("\(try await get("/config"))".contains("***"))
            }
        }
    }
}
