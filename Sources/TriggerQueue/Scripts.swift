// The scripts as Redis gets them: a switch for events, the common start, the parts a script uses, the script.
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
            for part in parts { source += String(decoding: part, as: UTF8.self) }
            return RedisScript(name: name, source: source)
        }
        let shared = PackageResources.shared_lua
        let delaying = PackageResources.delaying_lua
        let promoting = PackageResources.promoting_lua
        let acknowledging = PackageResources.acknowledging_lua
        let retaining = PackageResources.retaining_lua
        offer = script("offer", shared, delaying, PackageResources.offer_lua)
        take = script("take", shared, promoting, PackageResources.take_lua)
        finish = script("finish", shared, delaying, acknowledging, retaining, PackageResources.finish_lua)
        heartbeat = script("heartbeat", shared, PackageResources.heartbeat_lua)
        release = script("release", shared, acknowledging, PackageResources.release_lua)
        reclaim = script("reclaim", shared, delaying, promoting, retaining, PackageResources.reclaim_lua)
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

    /// Those of a running worker, loaded after every connect; an operator's come when they are first used.
    var all: [RedisScript] { [offer, take, finish, heartbeat, release, reclaim] }
}
