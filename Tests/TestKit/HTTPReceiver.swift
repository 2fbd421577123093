// A plain HTTP server of a test: blocking sockets, one thread per connection, every request kept.

internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

package struct ReceivedRequest: Sendable {
    package let path: String
    /// Names in lower case.
    package let headers: [String: String]
    package let body: [UInt8]
    package var text: String { String(decoding: body, as: UTF8.self) }
}

package struct ReceiverAnswer: Sendable {
    package var status: Int
    package var headers: [(String, String)]
    package var body: String

    package init(_ status: Int = 200, headers: [(String, String)] = [], body: String = "ok") {
        self.status = status
        self.headers = headers
        self.body = body
    }
}

package final class HTTPReceiver: Sendable {
    package let port: Int
    private let listener: Int32
    private let kept = Locked<[ReceivedRequest]>([])
    private let connections = Locked(0)
    private let answer: @Sendable (ReceivedRequest) -> ReceiverAnswer

    /// Listens on 127.0.0.1 until `close`.
    package init(_ answer: @escaping @Sendable (ReceivedRequest) -> ReceiverAnswer = { _ in ReceiverAnswer() }) throws {
        self.answer = answer
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        listener = descriptor
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr = in_addr(s_addr: in_addr_t(0x7f00_0001).bigEndian)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(descriptor, pointer, length) == 0 && listen(descriptor, 64) == 0
                    && getsockname(descriptor, pointer, &length) == 0
            }
        }
        guard bound else { throw ReceiverError() }
        port = Int(in_port_t(bigEndian: address.sin_port))
        Self.start { self.accept() }
    }

    package var requests: [ReceivedRequest] { kept.withLock { $0 } }
    /// How many connections were taken.
    package var connectionCount: Int { connections.withLock { $0 } }

    package func close() {
        shutdown(listener, Int32(SHUT_RDWR))
        Self.closeDescriptor(listener)
    }

    private static func closeDescriptor(_ descriptor: Int32) {
        #if canImport(Glibc)
        _ = Glibc.close(descriptor)
        #else
        _ = Darwin.close(descriptor)
        #endif
    }

    private static func acceptOne(_ listener: Int32) -> Int32 {
        #if canImport(Glibc)
        Glibc.accept(listener, nil, nil)
        #else
        Darwin.accept(listener, nil, nil)
        #endif
    }

    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    private static func start(_ body: @escaping @Sendable () -> Void) {
        var thread = pthread_t()
        let box = Unmanaged.passRetained(Body(body))
        let made = pthread_create(
            &thread,
            nil,
            { pointer in
                if let pointer { Unmanaged<Body>.fromOpaque(pointer).takeRetainedValue().run() }
                return nil
            },
            box.toOpaque(),
        )
        if made == 0 { pthread_detach(thread) }
    }

    private func accept() {
        while true {
            let descriptor = Self.acceptOne(listener)
            guard descriptor >= 0 else { return }
            connections.withLock { $0 += 1 }
            Self.start {
                self.serve(descriptor)
                Self.closeDescriptor(descriptor)
            }
        }
    }

    private func serve(_ descriptor: Int32) {
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16_384)
        func more() -> Bool {
            let count = read(descriptor, &piece, piece.count)
            guard count > 0 else { return false }
            bytes += piece[..<count]
            return true
        }
        let blank = Array("\r\n\r\n".utf8)
        while true {
            var end: Int?
            while end == nil {
                end = bytes.indices.first { bytes[$0...].starts(with: blank) }
                if end == nil, !more() { return }
            }
            guard let end else { return }
            let lines = String(decoding: bytes[..<end], as: UTF8.self).split(separator: "\r\n")
            var headers: [String: String] = [:]
            for line in lines.dropFirst() {
                let parts = line.split(separator: ":", maxSplits: 1)
                guard parts.count == 2 else { continue }
                headers[parts[0].lowercased()] = String(parts[1].drop { $0 == " " })
            }
            let length = Int(headers["content-length"] ?? "0") ?? 0
            while bytes.count < end + 4 + length { if !more() { return } }
            let request = ReceivedRequest(
                path: lines.first?.split(separator: " ").dropFirst().first.map(String.init) ?? "",
                headers: headers,
                body: Array(bytes[(end + 4)..<(end + 4 + length)]),
            )
            bytes.removeFirst(end + 4 + length)
            kept.withLock { $0.append(request) }
            let told = answer(request)
            var text = "HTTP/1.1 \(told.status) X\r\ncontent-length: \(told.body.utf8.count)\r\n"
            for (name, value) in told.headers { text += "\(name): \(value)\r\n" }
            let out = Array((text + "\r\n" + told.body).utf8)
            guard send(descriptor, out, out.count, Int32(MSG_NOSIGNAL)) == out.count else { return }
        }
    }
}

package struct ReceiverError: Error {}
