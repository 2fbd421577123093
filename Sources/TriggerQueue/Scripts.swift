// The scripts as Redis gets them: a switch for events, the common start, the script. In place of a line `--@name` stands
// the part of that name.
internal import RedisClient

/// How much a queue tells in its `events` stream (QUEUE.md 15.3).
public enum QueueEvents: String, Hashable, Sendable {
    /// Every transition.
    case full
    /// Without `waiting` and `active`, which saves about a fifth of the queue's share of Redis.
    case ends
}

struct QueueScripts: Sendable {
    let offer: RedisScript
    let take: RedisScript
    let finish: RedisScript
    let heartbeat: RedisScript
    let release: RedisScript
    let reclaim: RedisScript
    let requeue: RedisScript
    let promote: RedisScript
    let discard: RedisScript
    let pause: RedisScript
    let resume: RedisScript
    let drain: RedisScript
    let clean: RedisScript
    let audit: RedisScript
    let restore: RedisScript

    init(events: QueueEvents) {
        func script(_ name: String, _ parts: [UInt8]...) -> RedisScript {
            var source = "local FULL = \(events == .full)\n"
            for part in [PackageResources.gate_lua] + parts { Self.append(part, to: &source) }
            return RedisScript(name: name, source: source)
        }
        // Those of a running worker have only what they need where they need it.
        offer = script("offer", PackageResources.offer_lua)
        take = script("take", PackageResources.take_lua)
        finish = script("finish", PackageResources.finish_lua)
        let shared = PackageResources.shared_lua
        let delaying = PackageResources.delaying_lua
        let promoting = PackageResources.promoting_lua
        heartbeat = script("heartbeat", shared, PackageResources.heartbeat_lua)
        release = script("release", shared, PackageResources.acknowledging_lua, PackageResources.release_lua)
        reclaim = script(
            "reclaim",
            shared,
            delaying,
            promoting,
            PackageResources.retaining_lua,
            PackageResources.reclaim_lua,
        )
        requeue = script("requeue", shared, delaying, PackageResources.requeue_lua)
        promote = script("promote", shared, promoting, PackageResources.promote_lua)
        discard = script("discard", shared, PackageResources.discard_lua)
        pause = script("pause", shared, PackageResources.pause_lua)
        resume = script("resume", shared, PackageResources.resume_lua)
        drain = script("drain", shared, PackageResources.drain_lua)
        clean = script("clean", shared, PackageResources.clean_lua)
        restore = script("restore", shared, PackageResources.restore_lua)
        audit = script("audit", shared, PackageResources.audit_lua)
    }

    private static let parts: [Substring: [UInt8]] = [
        "waking": PackageResources.waking_lua, "dues": PackageResources.dues_lua,
        "delaying": PackageResources.delaying_lua, "promoting": PackageResources.promoting_lua,
        "acknowledging": PackageResources.acknowledging_lua, "retaining": PackageResources.retaining_lua,
    ]

    private static func append(_ text: [UInt8], to source: inout String) {
        for line in String(decoding: text, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false) {
            let word = line.drop { $0 == " " }
            if word.hasPrefix("--@") {
                guard let part = parts[word.dropFirst(3)] else { preconditionFailure("no part \(word)") }
                append(part, to: &source)
            } else {
                source += line
                source += "\n"
            }
        }
    }

    /// Those of a running worker, loaded after every connect; an operator's come when they are first used.
    var all: [RedisScript] { [offer, take, finish, heartbeat, release, reclaim] }
}
