// Bulk reading and writing with COPY, each on a connection of its own.
//
// Reading streams: at most `chunksAhead` chunks lie between the socket and the reader, so a slow reader slows the server
// and memory stays bounded. A reader that stops early ends the operation.

internal import CPostgres
internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

extension PostgresPool {
    /// The rows of `query` in chunks of some 256 KiB, in the query's order, of one snapshot. About a tenth of a
    /// `query`'s cost per row, and in constant memory.
    ///
    /// COPY takes no parameters. Values go into session variables, which the query reads:
    /// `WHERE shard = ANY (current_setting('copy.shards')::int[])`. Cells carry no type: cast what is not exactly what
    /// the accessor expects (`jsonb` to text).
    ///
    /// - Parameters:
    ///   - variables: names with a dot, e.g. `copy.shards`.
    ///   - deadline: for the whole operation; 60 s without.
    /// Each iteration runs the query once. A transient error in the middle means: begin again.
    public func copyOut(
        _ query: String,
        variables: [(name: String, value: String)] = [],
        deadline: ContinuousClock.Instant? = nil,
    ) -> CopyChunks {
        CopyChunks(pool: self, query: query, variables: variables, deadline: deadline)
    }

    /// Loads rows with `COPY table (columns) FROM STDIN ...` in one transaction; answers their number.
    ///
    /// - Parameters:
    ///   - chunk: called with 0, 1, 2 ... on the operation's thread; nil ends the data. Any split of the data will do.
    ///   - deadline: for the whole operation; 60 s without.
    public func copyIn(
        _ sql: String,
        deadline: ContinuousClock.Instant? = nil,
        chunk: @escaping @Sendable (Int) -> [UInt8]?,
    ) async throws(PostgresError) -> Int {
        try await ExclusiveSession.run(self, deadline: deadline) { session throws(PostgresError) in
            try session.copyIn(sql, chunk)
        }
    }
}

extension PostgresError {
    /// Reading takes no effect, so whatever happened may be repeated.
    fileprivate var ofReading: PostgresError {
        switch kind {
        case .outcomeUnknown: PostgresError(.notSent, detail)
        case .deadlineExceeded: PostgresError(.deadlineExceeded(.notSent), detail)
        case .notSent, .refused, .server, .unconfirmedCommit: self
        }
    }
}

/// The chunks of a COPY: `for try await rows in pool.copyOut(...) { for row in rows { ... } }`.
public struct CopyChunks: AsyncSequence, Sendable {
    public typealias Element = Rows
    public typealias Failure = PostgresError

    fileprivate let pool: PostgresPool
    fileprivate let query: String
    fileprivate let variables: [(name: String, value: String)]
    fileprivate let deadline: ContinuousClock.Instant?

    /// Starts the operation.
    public func makeAsyncIterator() -> AsyncIterator {
        let channel = ChunkChannel()
        let deadline = deadline ?? .now + .seconds(60)
        do throws(PostgresError) {
            try pool.exclusive.enter()
        } catch {
            channel.finish(.failure(error))
            return AsyncIterator(reader: ChunkReader(channel))
        }
        OwnerThread.start(name: "postgres-copy") { [pool, query, variables] in
            let result = Result { () throws(PostgresError) in
                let session = try ExclusiveSession(pool, deadline: deadline)
                do throws(PostgresError) {
                    try session.set(variables)
                    try session.copyOut("COPY (\(query)) TO STDOUT (FORMAT binary)", to: channel)
                } catch {
                    throw error.ofReading
                }
            }
            pool.exclusive.leave()
            channel.finish(result)
        }
        return AsyncIterator(reader: ChunkReader(channel))
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let reader: ChunkReader

        public mutating func next() async throws(PostgresError) -> Rows? { try await reader.channel.next() }

        public mutating func next(isolation actor: isolated (any Actor)?) async throws(PostgresError) -> Rows? {
            try await reader.channel.next()
        }
    }
}

/// Ends the operation when the iterator is gone.
private final class ChunkReader: Sendable {
    let channel: ChunkChannel
    init(_ channel: ChunkChannel) { self.channel = channel }
    deinit { channel.abandon() }
}

/// The bounded way from the COPY thread to one reader.
private final class ChunkChannel: Sendable {
    static let chunksAhead = 4

    private struct State {
        var chunks = FIFO<Rows>()
        var end: Result<Void, PostgresError>?
        var reader: CheckedContinuation<Result<Rows?, PostgresError>, Never>?
        var isAbandoned = false
    }

    private let state = Locked(State())
    /// Only its descriptor is used: it wakes the thread that waits for room.
    private let room = Mailbox<Never>(capacity: 1)

    var wakeDescriptor: Int32 { room.wakeDescriptor }

    func next() async throws(PostgresError) -> Rows? {
        let result = await withCheckedContinuation { continuation in
            let (ready, hasRoom) = state.withLock { state -> (Result<Rows?, PostgresError>?, Bool) in
                let wasFull = state.chunks.count >= ChunkChannel.chunksAhead
                if let chunk = state.chunks.popFirst() { return (.success(chunk), wasFull) }
                if let end = state.end { return (end.map { nil }, false) }
                precondition(state.reader == nil, "two readers of one COPY")
                state.reader = continuation
                return (nil, false)
            }
            if hasRoom { room.wake() }
            if let ready { continuation.resume(returning: ready) }
        }
        return try result.get()
    }

    /// Hands a chunk over, beyond the limit too: the thread asks `hasRoom` before the next one.
    func push(_ chunk: Rows) {
        let reader = state.withLock { state in
            if state.isAbandoned { return nil as CheckedContinuation<Result<Rows?, PostgresError>, Never>? }
            if let reader = state.reader {
                state.reader = nil
                return reader
            }
            state.chunks.append(chunk)
            return nil
        }
        reader?.resume(returning: .success(chunk))
    }

    var hasRoom: Bool { state.withLock { $0.isAbandoned || $0.chunks.count < ChunkChannel.chunksAhead } }
    var isAbandoned: Bool { state.withLock { $0.isAbandoned } }
    func forgetWakes() { _ = room.drain() }

    func finish(_ end: Result<Void, PostgresError>) {
        let reader = state.withLock { state in
            state.end = end
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume(returning: end.map { nil })
    }

    func abandon() {
        state.withLock { state in
            state.isAbandoned = true
            state.chunks = FIFO()
        }
        room.wake()
    }
}

extension ExclusiveSession {
    fileprivate func copyOut(_ sql: String, to channel: ChunkChannel) throws(PostgresError) {
        try send(sql)
        guard let first = try next() else { throw lost("no answer to COPY") }
        let (status, columns) = (PQresultStatus(first), Int(PQnfields(first)))
        let failure = serverError(first, statement: nil)
        PQclear(first)
        guard status == PGRES_COPY_OUT else {
            if status == PGRES_FATAL_ERROR { throw failure }
            throw PostgresError(.refused, "not a COPY TO STDOUT")
        }
        var builder = ChunkBuilder(columnCount: columns)
        var isFirst = true
        while !channel.isAbandoned {
            var message: UnsafeMutablePointer<CChar>?
            let length = Int(PQgetCopyData(link.handle, &message, 1))
            switch length {
            case 0:
                try wait(POLLIN)
                guard PQconsumeInput(link.handle) == 1 else { throw lost(link.error) }
            case -1:
                try finish()
                if let chunk = builder.take() { channel.push(chunk) }
                return
            case 1...:
                defer { PQfreemem(message) }
                let bytes = UnsafeRawBufferPointer(start: message, count: length)
                guard builder.append(bytes, hasHeader: isFirst) else { throw lost("malformed COPY data") }
                isFirst = false
                guard builder.isFull, let chunk = builder.take() else { continue }
                channel.push(chunk)
                while !channel.hasRoom {
                    try wait(0, extra: channel.wakeDescriptor)
                    channel.forgetWakes()
                }
            default:
                throw lost(link.error)
            }
        }
    }

    fileprivate func copyIn(_ sql: String, _ chunk: (Int) -> [UInt8]?) throws(PostgresError) -> Int {
        try send(sql)
        guard let first = try next() else { throw lost("no answer to COPY") }
        let status = PQresultStatus(first)
        let failure = serverError(first, statement: nil)
        PQclear(first)
        guard status == PGRES_COPY_IN else {
            if status == PGRES_FATAL_ERROR { throw failure }
            throw PostgresError(.refused, "not a COPY FROM STDIN")
        }
        var number = 0
        while let data = chunk(number) {
            number += 1
            let size = 1 << 20
            for start in stride(from: 0, to: data.count, by: size) {
                let part = data[start..<min(start + size, data.count)]
                try until { part.withUnsafeBytes { put($0) } }
            }
        }
        try until { PQputCopyEnd(link.handle, nil) }
        try flush()
        return try finish()
    }

    private func put(_ bytes: UnsafeRawBufferPointer) -> Int32 {
        PQputCopyData(link.handle, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
    }

    /// Repeats a non-blocking call (1 done, 0 would block, -1 failed) until it is done.
    private func until(_ call: () -> Int32) throws(PostgresError) {
        while true {
            switch call() {
            case 1: return
            case 0: try flush()
            default: throw lost(link.error)
            }
        }
    }
}

/// Collects the rows of binary COPY messages into one block of memory.
private struct ChunkBuilder: ~Copyable {
    private static let size = 1 << 18

    private let columnCount: Int
    private var bytes = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private var filled = 0
    private var cells: [(start: Int32, length: Int32)] = []
    private var rows = 0

    init(columnCount: Int) { self.columnCount = columnCount }
    deinit { bytes.deallocate() }

    var isFull: Bool { filled >= ChunkBuilder.size }

    /// Adds a message: a row, or the trailer; before the first one stands the header. False when it is malformed.
    mutating func append(_ message: UnsafeRawBufferPointer, hasHeader: Bool) -> Bool {
        var offset = 0
        if hasHeader {
            // 11 bytes of signature, flags, and the length of an extension.
            guard message.count >= 19 else { return false }
            offset = 19 + Int(UInt32(bigEndian: message.loadUnaligned(fromByteOffset: 15, as: UInt32.self)))
        }
        while offset < message.count {
            guard offset + 2 <= message.count else { return false }
            let fields = Int(Int16(bigEndian: message.loadUnaligned(fromByteOffset: offset, as: Int16.self)))
            offset += 2
            if fields == -1 { return offset == message.count }
            guard fields == columnCount else { return false }
            reserve(message.count - offset)
            for _ in 0..<fields {
                guard offset + 4 <= message.count else { return false }
                let length = Int(Int32(bigEndian: message.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
                offset += 4
                cells.append((Int32(filled), Int32(length)))
                guard length > 0 else { continue }
                guard offset + length <= message.count else { return false }
                let target = UnsafeMutableRawBufferPointer(rebasing: bytes[filled..<(filled + length)])
                target.copyMemory(from: UnsafeRawBufferPointer(rebasing: message[offset..<(offset + length)]))
                filled += length
                offset += length
            }
            rows += 1
        }
        return true
    }

    /// What was collected since the last call; nil when that is nothing.
    mutating func take() -> Rows? {
        guard rows > 0 else { return nil }
        let source = CellSource(bytes: bytes, cells: cells, columnCount: columnCount)
        defer {
            bytes = UnsafeMutableRawBufferPointer(start: nil, count: 0)
            cells = []
            filled = 0
            rows = 0
        }
        return Rows(source: source, count: rows, columnCount: columnCount)
    }

    private mutating func reserve(_ count: Int) {
        guard filled + count > bytes.count else { return }
        let capacity = max(ChunkBuilder.size + 4_096, (filled + count) * 2)
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 8)
        larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<filled]))
        bytes.deallocate()
        bytes = larger
        cells.reserveCapacity(4_096 * columnCount)
    }
}
