import LocalServers
import OwnerThread
import Testing

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// Stands between a client and a server on loopback. Once told, it lets one request pass, waits for the server's reply, and
/// cuts the connection instead of handing it on: the call was done, and the caller does not know.
final class CuttingProxy: Sendable {
    private struct State {
        /// Part of the request whose reply is swallowed.
        var wanted: [UInt8]?
        var cuts = 0
        var refuses = false
        var isClosed = false
    }

    let port: UInt16
    private let listener: Int32
    private let server: String
    private let state = Locked(State())

    /// - Parameter server: path of a unix socket.
    init(to server: String) throws {
        self.server = server
        #if canImport(Glibc)
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
        listener = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = listener
        port = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                _ = bind(listener, generic, size)
                _ = getsockname(listener, generic, &size)
            }
            return UInt16(bigEndian: pointer.pointee.sin_port)
        }
        try #require(listen(listener, 64) == 0)
        OwnerThread.start(name: "proxy") { [self] in accept() }
    }

    /// Swallows the reply to the next request that holds `text`.
    /// - Parameter thenRefuses: nothing passes after it.
    func cut(_ text: String, thenRefuses: Bool = false) {
        state.withLock { state in
            state.wanted = Array(text.utf8)
            state.refuses = thenRefuses
        }
    }

    var cuts: Int { state.withLock { $0.cuts } }

    func close() {
        state.withLock { $0.isClosed = true }
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private var isShut: Bool { state.withLock { $0.isClosed || ($0.refuses && $0.cuts > 0) } }

    private func accept() {
        while true {
            var watched = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
            _ = poll(&watched, 1, 100)
            if state.withLock({ $0.isClosed }) { break }
            guard watched.revents != 0 else { continue }
            #if canImport(Glibc)
            let client = Glibc.accept(listener, nil, nil)
            #else
            let client = Darwin.accept(listener, nil, nil)
            #endif
            guard client >= 0 else { continue }
            OwnerThread.start(name: "proxy-link") { [self] in
                let upstream = connect()
                if upstream >= 0, !isShut { pump(client, upstream) }
                release(client)
                release(upstream)
            }
        }
        release(listener)
    }

    private func release(_ descriptor: Int32) {
        #if canImport(Glibc)
        _ = Glibc.close(descriptor)
        #else
        _ = Darwin.close(descriptor)
        #endif
    }

    private func connect() -> Int32 {
        #if canImport(Glibc)
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        #else
        let descriptor = socket(AF_UNIX, SOCK_STREAM, 0)
        #endif
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: server.utf8) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                #if canImport(Glibc)
                Glibc.connect(descriptor, generic, socklen_t(MemoryLayout<sockaddr_un>.size))
                #else
                Darwin.connect(descriptor, generic, socklen_t(MemoryLayout<sockaddr_un>.size))
                #endif
            }
        }
        return result == 0 ? descriptor : -1
    }

    /// Carries bytes both ways until one side ends or the reply that is waited for is here.
    private func pump(_ client: Int32, _ upstream: Int32) {
        var mustCut = false
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while !isShut {
            var watched = [
                pollfd(fd: client, events: Int16(POLLIN), revents: 0),
                pollfd(fd: upstream, events: Int16(POLLIN), revents: 0),
            ]
            _ = poll(&watched, 2, 50)
            if watched[0].revents != 0 {
                let count = recv(client, &buffer, buffer.count, 0)
                guard count > 0 else { return }
                mustCut = mustCut || take(buffer[..<count])
                guard pass(buffer[..<count], to: upstream) else { return }
            }
            if watched[1].revents != 0 {
                let count = recv(upstream, &buffer, buffer.count, 0)
                guard count > 0 else { return }
                if mustCut { return state.withLock { $0.cuts += 1 } }
                guard pass(buffer[..<count], to: client) else { return }
            }
        }
    }

    /// Whether this is the request that is waited for; only one is.
    private func take(_ bytes: ArraySlice<UInt8>) -> Bool {
        state.withLock { state in
            guard let wanted = state.wanted, bytes.firstRange(of: wanted) != nil else { return false }
            state.wanted = nil
            return true
        }
    }

    private func pass(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.dropFirst(sent).withUnsafeBytes { buffer in
                send(descriptor, buffer.baseAddress, buffer.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }
}
