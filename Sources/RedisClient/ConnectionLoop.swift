// The owner thread of a connection.
//
// A request lives here in one of two queues:
//   waiting   not a byte written; ends as notSent (deadline), closed, or moves on
//   inFlight  in hiredis' write buffer or on the wire; ends with replies or as outcomeUnknown; moves back to `waiting`
//             when the link fails before its first byte was written
// Replies arrive in order, so they belong to the first of `inFlight`.

internal import CHiredis
internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

final class ConnectionLoop {
    private struct Flight {
        let request: RedisRequest
        /// The link's `appended` when the request began.
        let firstByte: UInt64
        /// Commands in the write buffer or written.
        var sentCommands: Int
    }

    /// More than this waits in our own queue and not in hiredis' buffer, which moves its rest at each partial write.
    private static let bufferLimit = 256 * 1024

    private let options: RedisOptions
    private let mailbox: Mailbox<RedisRequest>
    private let shared: ConnectionShared
    private let keeper: LinkKeeper

    private var waiting = FIFO<RedisRequest>()
    private var inFlight = FIFO<Flight>()
    /// The replies so far to the first of `inFlight`.
    private var replies = RedisReplies()
    private var repliesSeen = 0
    /// Something follows from replies, and is sent before they are handed out.
    private var hasFollowUps = false
    /// No deadline of ours is earlier. It may be too early, never too late.
    private var earliestDeadline = UInt64.max
    private var lastActivity: UInt64 = 0
    /// The server said READONLY or MOVED: nothing more is sent, and the link goes when the last reply is in.
    private var isRetiring = false
    /// Results not handed out yet: first the room they took is given back, so that whoever is answered may ask again.
    private var ended: [(request: RedisRequest, result: Result<RedisReplies, RedisError>)] = []
    private var released = (requests: 0, bytes: 0)
    private var shown = (isReady: false, connects: 0, lastFailure: "")

    init(options: RedisOptions, mailbox: Mailbox<RedisRequest>, shared: ConnectionShared) {
        self.options = options
        self.mailbox = mailbox
        self.shared = shared
        keeper = LinkKeeper(options: options) { mailbox.wake() }
    }

    func run() {
        blockBrokenPipeSignal()
        var watchedIsReady = false
        while true {
            let (posted, isClosed) = mailbox.drain()
            for request in posted { enqueue(request) }
            if isClosed {
                while let request = waiting.popFirst() {
                    end(request, with: request.repeated == nil ? .closed : .outcomeUnknown, "")
                }
                if inFlight.isEmpty { break }
            }

            let now = monotonicNow()
            keeper.advance(now: now, descriptorIsReady: watchedIsReady)
            pingIfIdle(now: now)
            transmit(now: now)
            settle()

            // After a full mailbox it is looked at once more before sleeping: see `Mailbox.drain`.
            watchedIsReady = sleep(atMost: posted.isEmpty ? timeUntilNextTime(now: now) : 0)
        }
        keeper.fail("closed", now: monotonicNow())
        settle()
    }

    // MARK: Waiting for something

    /// Sleeps until something happens or `milliseconds` have passed, and reads replies. Returns whether the keeper's
    /// descriptor is ready.
    private func sleep(atMost milliseconds: Int32) -> Bool {
        var watched = [pollfd(fd: mailbox.wakeDescriptor, events: Int16(POLLIN), revents: 0)]
        if let link = keeper.link {
            watched.append(
                pollfd(
                    fd: link.descriptor,
                    events: Int16(link.unsent > 0 ? POLLIN | POLLOUT : POLLIN),
                    revents: 0,
                )
            )
        } else if let other = keeper.watched {
            watched.append(other)
        }
        _ = poll(&watched, nfds_t(watched.count), milliseconds)
        let isReady = watched.count == 2 && watched[1].revents != 0
        var mayHaveMore = false
        if isReady, keeper.link != nil {
            mayHaveMore = receive(now: monotonicNow())
            if hasFollowUps { transmit(now: monotonicNow()) }
            hasFollowUps = false
        }
        // An answer that is already here beats a deadline that passed while this process did not run.
        let now = monotonicNow()
        if now >= earliestDeadline, !mayHaveMore { expire(now: now) }
        settle()
        return isReady
    }

    private func timeUntilNextTime(now: UInt64) -> Int32 {
        var next = min(earliestDeadline, keeper.nextTime)
        if keeper.link != nil, inFlight.isEmpty, waiting.isEmpty {
            next = min(next, lastActivity + options.idlePing.nanoseconds)
        }
        if next == .max { return -1 }
        if next <= now { return 0 }
        return Int32(min((next - now + 999_999) / 1_000_000, 60_000))
    }

    // MARK: Sending

    private func enqueue(_ request: RedisRequest) {
        waiting.append(request)
        earliestDeadline = min(earliestDeadline, request.deadline)
    }

    private func transmit(now: UInt64) {
        guard let link = keeper.link else { return }
        do throws(LinkFailure) {
            try link.flush()
            // Fill, write, and again while the kernel takes everything.
            while link.unsent == 0, try fill(link, now: now) { try link.flush() }
        } catch {
            drop(error.text, now: now)
        }
    }

    /// Fills the write buffer. Returns whether anything was added.
    private func fill(_ link: RedisLink, now: UInt64) throws(LinkFailure) -> Bool {
        var added = false
        while link.unsent < Self.bufferLimit {
            if let last = inFlight.last, last.sentCommands < last.request.batch.count {
                let next = try link.append(last.request.batch, from: last.sentCommands, limit: Self.bufferLimit)
                inFlight.updateLast { $0.sentCommands = next }
                added = true
                continue
            }
            guard !isRetiring, inFlight.count < options.depth, let request = waiting.popFirst() else { break }
            if request.deadline <= now {
                end(request, with: kindOfUnsent(request), "deadline passed: \(keeper.lastFailure)")
                continue
            }
            inFlight.append(Flight(request: request, firstByte: link.appended, sentCommands: 0))
            lastActivity = now
        }
        return added
    }

    private func pingIfIdle(now: UInt64) {
        guard keeper.link != nil, inFlight.isEmpty, waiting.isEmpty,
            now >= lastActivity + options.idlePing.nanoseconds
        else { return }
        lastActivity = now
        let deadline = now + options.requestTimeout.nanoseconds
        // Nobody waits for the answer: without one the deadline drops the link.
        waiting.append(
            RedisRequest(
                batch: RedisBatch(RedisCommand("PING")),
                deadline: deadline,
                shape: .values,
                isOwn: true,
            ) { _ in }
        )
        earliestDeadline = min(earliestDeadline, deadline)
    }

    // MARK: Receiving

    /// Reads and hands out what has arrived. Returns whether more may be there.
    private func receive(now: UInt64) -> Bool {
        guard let link = keeper.link else { return false }
        lastActivity = now
        do throws(LinkFailure) {
            let mayHaveMore = try link.read()
            while let request = inFlight.first?.request {
                let count = request.batch.count
                if repliesSeen == 0 { replies.values.reserveCapacity(count) }
                while repliesSeen < count {
                    let taken: Void? = try link.nextReply { reply in take(reply, shape: request.shape) }
                    if taken == nil { return mayHaveMore }
                    repliesSeen += 1
                }
                completeFirst()
            }
            if try link.nextReply({ _ in }) != nil { throw LinkFailure(text: "a reply without a request") }
            if isRetiring { drop("the server is not the master of these keys", now: now) }
            return mayHaveMore
        } catch {
            drop(error.text, now: now)
            return false
        }
    }

    private func take(_ reply: UnsafePointer<redisReply>, shape: ReplyShape) {
        switch shape {
        case .streams(let keys) where reply.pointee.type != REDIS_REPLY_ERROR:
            replies.entries = RedisStreamEntries(streams: reply, keys: keys)
        case .range where reply.pointee.type != REDIS_REPLY_ERROR:
            replies.entries = RedisStreamEntries(range: reply)
        case .streams, .range, .values:
            replies.values.append(RedisValue(reply))
        }
        guard options.requiresMaster, case .error(let error)? = replies.values.last else { return }
        // On a cluster somebody else owns the slot by now, or nobody yet: the next connect asks who.
        let isElsewhere = options.slotKey != nil && (error.hasCode("MOVED") || error.hasCode("CLUSTERDOWN"))
        if error.hasCode("READONLY") || isElsewhere { isRetiring = true }
    }

    private func completeFirst() {
        guard let request = inFlight.popFirst()?.request else { return }
        var answer = replies
        replies = RedisReplies()
        repliesSeen = 0
        if let repeated = request.repeated {
            var all = repeated.replies
            for (offset, position) in repeated.positions.enumerated() {
                all[position] = answer.values[repeated.loads + offset]
            }
            answer.values = all
        } else if !request.batch.scripts.isEmpty, let again = repeatOfMissingScripts(request, answer.values) {
            waiting.prepend(again)
            return
        }
        if let more = request.followUp?(answer.values), !more.isEmpty {
            let deadline = monotonicNow() + options.requestTimeout.nanoseconds
            waiting.prepend(
                RedisRequest(batch: more, deadline: deadline, shape: .values, isOwn: true) { _ in }
            )
            earliestDeadline = min(earliestDeadline, deadline)
            hasFollowUps = true
        }
        end(request, .success(answer))
    }

    /// The calls whose script the server did not know, behind the scripts; nil when there are none.
    private func repeatOfMissingScripts(_ request: RedisRequest, _ replies: [RedisValue]) -> RedisRequest? {
        let missing = request.batch.scripts.filter { replies[$0.command].error?.hasCode("NOSCRIPT") ?? false }
        if missing.isEmpty { return nil }
        var batch = RedisBatch()
        var loaded: Set<RedisScript> = []
        for use in missing where loaded.insert(use.script).inserted {
            batch.begin("SCRIPT")
            batch.append("LOAD")
            batch.append(use.script.source)
        }
        for use in missing { batch.add(request.batch, commands: use.command..<(use.command + 1)) }
        let repeated = RepeatedCalls(
            replies: replies,
            positions: missing.map(\.command),
            loads: loaded.count,
            admittedBytes: request.admittedBytes,
        )
        return RedisRequest(
            batch: batch,
            deadline: request.deadline,
            shape: .values,
            repeated: repeated,
            followUp: request.followUp,
            completion: request.completion,
        )
    }

    // MARK: Ending

    /// Ends what is past its deadline. One late request in flight takes the link down, as the server or the way to it
    /// is stuck and replies cannot be skipped.
    private func expire(now: UInt64) {
        if inFlight.contains(where: { $0.request.deadline <= now }) { drop("no answer by the deadline", now: now) }
        var kept = FIFO<RedisRequest>()
        earliestDeadline = .max
        while let request = waiting.popFirst() {
            if request.deadline <= now {
                let reason = keeper.link == nil ? keeper.lastFailure : "the server takes no more"
                end(request, with: kindOfUnsent(request), "deadline passed: \(reason)")
            } else {
                earliestDeadline = min(earliestDeadline, request.deadline)
                kept.append(request)
            }
        }
        waiting = kept
        inFlight.forEach { earliestDeadline = min(earliestDeadline, $0.request.deadline) }
    }

    /// A repeat was sent once: the rest of its batch has run.
    private func kindOfUnsent(_ request: RedisRequest) -> RedisError.Kind {
        request.repeated == nil ? .notSent : .outcomeUnknown
    }

    private func drop(_ reason: String, now: UInt64) {
        let written = keeper.link?.written ?? 0
        keeper.fail(reason, now: now)
        isRetiring = false
        replies = RedisReplies()
        repliesSeen = 0
        var unsent: [RedisRequest] = []
        while let flight = inFlight.popFirst() {
            if flight.firstByte >= written {
                unsent.append(flight.request)
            } else {
                end(flight.request, with: .outcomeUnknown, reason)
            }
        }
        for request in unsent.reversed() { waiting.prepend(request) }
    }

    private func end(_ request: RedisRequest, with kind: RedisError.Kind, _ detail: String) {
        end(request, .failure(RedisError(kind, detail)))
    }

    private func end(_ request: RedisRequest, _ result: Result<RedisReplies, RedisError>) {
        if request.isOwn { return }
        released.requests += 1
        released.bytes += request.admittedBytes
        ended.append((request, result))
    }

    /// Publishes the state, then hands out the results.
    private func settle() {
        publish()
        if ended.isEmpty { return }
        for (request, result) in ended { request.completion(result) }
        ended.removeAll(keepingCapacity: ended.count <= 1_024)
    }

    /// Tells the callers' side what changed: at most one lock per round.
    private func publish() {
        let isReady = keeper.link != nil
        let changed =
            isReady != shown.isReady || keeper.connects != shown.connects || keeper.lastFailure != shown.lastFailure
        if !changed, released == (0, 0) { return }
        shown = (isReady, keeper.connects, keeper.lastFailure)
        shared.status.withLock { state in
            if state.status.isReady, !shown.isReady { state.withoutLinkSince = monotonicNow() }
            state.status.isReady = shown.isReady
            state.status.connects = shown.connects
            state.status.lastFailure = shown.lastFailure
            state.status.outstanding -= released.requests
            state.bytes -= released.bytes
        }
        released = (0, 0)
    }
}

/// hiredis writes with write(2): to a closed peer that raises SIGPIPE, which would end a process whose `main` forgot to
/// ignore it. Blocked here, the write just fails.
func blockBrokenPipeSignal() {
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGPIPE)
    pthread_sigmask(SIG_BLOCK, &signals, nil)
}
