// A WebSocket client by hand, over NIO's bytes: it shares no code with the server's frames.

import JSONText
import NIOCore
import NIOPosix
import OwnerThread
import Testing

/// What a server sent.
enum Received: Hashable {
    case text(JSONValue)
    case ping
    case pong([UInt8])
    case close(UInt16?)
    /// The connection ended.
    case end

    var json: JSONValue {
        guard case .text(let json) = self else { return .null }
        return json
    }
    var type: String? { json["type"]?.text }
}

typealias Socket = NIOAsyncChannel<ByteBuffer, ByteBuffer>

/// One connection, used by one task.
final class RawConnection {
    private var inbound: AsyncStream<ByteBuffer>.Iterator
    /// While it is set, nothing is read from the socket.
    let isPaused: Locked<Bool>
    private let outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>
    private var held = ByteBuffer()
    /// The answer to the handshake.
    private(set) var head = ""

    init(
        _ inbound: AsyncStream<ByteBuffer>.Iterator,
        _ outbound: NIOAsyncChannelOutboundWriter<ByteBuffer>,
        isPaused: Locked<Bool>,
    ) {
        self.isPaused = isPaused
        self.inbound = inbound
        self.outbound = outbound
    }

    func send(_ text: String) async throws { try await outbound.write(ByteBuffer(string: text)) }
    func send(bytes: [UInt8]) async throws { try await outbound.write(ByteBuffer(bytes: bytes)) }

    /// A masked frame.
    func send(opcode: UInt8, _ payload: [UInt8], fin: Bool = true) async throws {
        var frame = [(fin ? 0x80 : 0) | opcode]
        if payload.count < 126 {
            frame.append(0x80 | UInt8(payload.count))
        } else {
            frame += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        }
        let mask: [UInt8] = [0x12, 0x34, 0x56, 0x78]
        frame += mask
        for (index, byte) in payload.enumerated() { frame.append(byte ^ mask[index % 4]) }
        try await send(bytes: frame)
    }

    func send(json: String) async throws { try await send(opcode: 1, Array(json.utf8)) }

    /// False: the connection ended.
    private func more() async throws -> Bool {
        guard var part = await inbound.next(isolation: #isolation) else { return false }
        held.writeBuffer(&part)
        return true
    }

    /// Whatever comes next; empty at the end.
    func some() async throws -> String {
        if held.readableBytes == 0 { _ = try await more() }
        return held.readString(length: held.readableBytes) ?? ""
    }

    /// Everything until the connection ends.
    func rest() async throws -> String {
        while try await more() {}
        return String(buffer: held)
    }

    /// One HTTP answer with a `Content-Length`.
    func answer() async throws -> String {
        while true {
            let text = String(buffer: held)
            if let end = text.firstRange(of: "\r\n\r\n") {
                let head = text[..<end.lowerBound].lowercased()
                let line = head.split(separator: "\r\n").first { $0.hasPrefix("content-length:") } ?? ""
                let length = Int(line.split(separator: ":").last?.filter { $0 != " " } ?? "") ?? 0
                let size = text[..<end.upperBound].utf8.count + length
                if held.readableBytes >= size { return held.readString(length: size) ?? "" }
            }
            guard try await more() else { return String(buffer: held) }
        }
    }

    func handshake(_ headers: String = "", path: String = "/v1/stream") async throws {
        try await send(
            "GET \(path) HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\(headers)\r\n"
        )
        try await handshakeAnswer()
    }

    func handshakeAnswer() async throws {
        while true {
            let text = String(buffer: held)
            if let end = text.firstRange(of: "\r\n\r\n") {
                head = String(text[..<end.upperBound])
                held.moveReaderIndex(forwardBy: head.utf8.count)
                return
            }
            guard try await more() else { return }
        }
    }

    /// The next frame. Pings are answered.
    func next() async throws -> Received {
        while true {
            if let received = try await parse() { return received }
            guard try await more() else { return .end }
        }
    }

    private func parse() async throws -> Received? {
        let start = held.readerIndex
        guard let first = held.getInteger(at: start, as: UInt8.self),
            let second = held.getInteger(at: start + 1, as: UInt8.self)
        else { return nil }
        #expect(second & 0x80 == 0, "a server does not mask")
        #expect(first & 0x80 != 0, "a server does not fragment")
        var size = 2
        var length = Int(second & 127)
        if length == 126 {
            guard let long = held.getInteger(at: start + 2, as: UInt16.self) else { return nil }
            (length, size) = (Int(long), 4)
        } else if length == 127 {
            guard let long = held.getInteger(at: start + 2, as: UInt64.self) else { return nil }
            (length, size) = (Int(long), 10)
        }
        guard held.readableBytes >= size + length else { return nil }
        held.moveReaderIndex(forwardBy: size)
        let payload = held.readBytes(length: length) ?? []
        switch first & 15 {
        case 1: return .text(try JSONValue(parsing: payload))
        case 8: return .close(payload.count < 2 ? nil : UInt16(payload[0]) << 8 | UInt16(payload[1]))
        case 9:
            try await send(opcode: 10, payload)
            return .ping
        case 10: return .pong(payload)
        default:
            Issue.record("unexpected opcode \(first & 15)")
            return .end
        }
    }

    /// The next frame of a type; others are skipped.
    func next(_ type: String) async throws -> JSONValue {
        while true {
            let received = try await next()
            if received.type == type { return received.json }
            if case .close = received { break }
            if received == .end { break }
        }
        Issue.record("the connection ended before a frame \(type)")
        return .null
    }

    /// The code with which the server closes; nil: it just ends.
    func closeCode() async throws -> UInt16? {
        while true {
            switch try await next() {
            case .close(let code): return code
            case .end: return nil
            case .text, .ping, .pong: continue
            }
        }
    }

    /// Sequences of the next `count` events.
    func sequences(_ count: Int) async throws -> [Int64] {
        var sequences: [Int64] = []
        while sequences.count < count {
            let event = try await next("event")
            guard let sequence = event["seq"]?.int64 else { return sequences }
            sequences.append(sequence)
        }
        return sequences
    }

    func authenticate(_ key: String = Rig.key) async throws {
        _ = try await next("hello")
        try await send(json: #"{"op":"auth","key":"\#(key)"}"#)
        _ = try await next("authenticated")
    }

    /// Follows the account from a position; returns the frame that says so.
    @discardableResult
    func subscribe(_ account: String, from: Int64?, epoch: Int64 = 1) async throws -> JSONValue {
        let position = from.map { #","from":{"epoch":\#(epoch),"seq":\#($0)}"# } ?? ""
        try await send(json: #"{"op":"subscribe","id":"s1","channel":"orders","account":"\#(account)"\#(position)}"#)
        return try await next("subscribed")
    }
}

/// Connects, runs `body`, and cuts the connection.
func withSocket(
    _ port: Int,
    receiveBuffer: Int? = nil,
    _ body: (RawConnection) async throws -> Void,
) async throws {
    var bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
    if let receiveBuffer {
        // Also in reads as small as that: else the channel would take a burst whole before it stops reading.
        bootstrap = bootstrap.channelOption(.socketOption(.so_rcvbuf), value: .init(receiveBuffer))
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: receiveBuffer))
            .channelOption(.maxMessagesPerRead, value: 1)
    }
    let socket = try await bootstrap.connect(host: "127.0.0.1", port: port) { channel in
        channel.eventLoop.makeCompletedFuture { try Socket(wrappingChannelSynchronously: channel) }
    }
    do {
        try await socket.executeThenClose { inbound, outbound in
            let isPaused = Locked(false)
            let (parts, feed) = AsyncStream<ByteBuffer>.makeStream()
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    do {
                        for try await part in inbound {
                            feed.yield(part)
                            while isPaused.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(5)) }
                        }
                    } catch {
                        // The connection broke: the test sees its end.
                    }
                    feed.finish()
                }
                try await body(RawConnection(parts.makeAsyncIterator(), outbound, isPaused: isPaused))
                group.cancelAll()
            }
        }
    } catch let error as ChannelError where error == .alreadyClosed || error == .ioOnClosedChannel {
        // The server was faster.
    }
}

/// The same with the handshake done.
func withStream(
    _ api: some APITarget,
    _ headers: String = "",
    receiveBuffer: Int? = nil,
    _ body: (RawConnection) async throws -> Void,
) async throws {
    try await withSocket(api.port, receiveBuffer: receiveBuffer) { connection in
        try await connection.handshake(headers)
        #expect(connection.head.hasPrefix("HTTP/1.1 101"))
        try await body(connection)
    }
}
