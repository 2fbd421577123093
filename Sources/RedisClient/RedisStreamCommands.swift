// Stream verbs.

extension RedisBatch {
    /// Starts an XADD; fields and values follow with `append`, in turn.
    ///
    /// - Parameters:
    ///   - id: nil lets the server choose.
    ///   - maxLength: the stream is trimmed to about so many entries (never fewer); nil trims nothing.
    public mutating func beginXADD(_ key: String, id: RedisStreamID? = nil, maxLength: Int? = nil) {
        begin("XADD")
        append(key)
        if let maxLength {
            append("MAXLEN")
            append("~")
            append(maxLength)
        }
        append(id?.description ?? "*")
    }

    fileprivate mutating func beginXREAD(
        _ positions: [(key: String, after: RedisStreamID)],
        count: Int,
        blockMilliseconds: Int64?,
    ) {
        begin("XREAD")
        append("COUNT")
        append(count)
        if let blockMilliseconds {
            append("BLOCK")
            append(blockMilliseconds)
        }
        append("STREAMS")
        for position in positions { append(position.key) }
        for position in positions { append(position.after.description) }
    }
}

extension RedisConnection {
    /// What was appended to several streams after a position in each; at most `count` entries per stream.
    /// `Entry.stream` counts in the order of `positions`, in which a key stands once.
    public func readStreams(
        _ positions: [(key: String, after: RedisStreamID)],
        count: Int,
        timeout: Duration? = nil,
    ) async throws(RedisError) -> RedisStreamEntries {
        var batch = RedisBatch()
        batch.beginXREAD(positions, count: count, blockMilliseconds: nil)
        return try await readEntries(batch, timeout: timeout, .streams(keys: positions.map { Array($0.key.utf8) }))
    }

    /// The first `count` entries of a stream after `start` and up to `end`; nil is the end of the stream.
    public func readRange(
        _ key: String,
        after start: RedisStreamID,
        through end: RedisStreamID? = nil,
        count: Int,
        timeout: Duration? = nil,
    ) async throws(RedisError) -> RedisStreamEntries {
        let command = RedisCommand("XRANGE", key, "(\(start)", end?.description ?? "+", "COUNT", "\(count)")
        return try await readEntries(command.batch, timeout: timeout, .range)
    }

    fileprivate func readEntries(
        _ batch: RedisBatch,
        timeout: Duration?,
        _ shape: ReplyShape,
    ) async throws(RedisError) -> RedisStreamEntries {
        let replies = try await perform(batch, timeout: timeout, shape: shape).get()
        _ = try replies.values.first?.orThrow()
        return replies.entries
    }
}

extension RedisBlockingConnection {
    /// As `readStreams`, and waits up to `wait` for the first entry. Empty when none came.
    public func readStreams(
        _ positions: [(key: String, after: RedisStreamID)],
        count: Int,
        wait: Duration,
    ) async throws(RedisError) -> RedisStreamEntries {
        var batch = RedisBatch()
        // BLOCK 0 would wait for ever.
        batch.beginXREAD(positions, count: count, blockMilliseconds: max(1, wait.wholeMilliseconds))
        return try await connection.readEntries(
            batch,
            timeout: wait + Self.patience,
            .streams(keys: positions.map { Array($0.key.utf8) }),
        )
    }
}
