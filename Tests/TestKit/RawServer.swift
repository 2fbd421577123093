// A TCP server of a test that says any bytes it likes: one thread per connection, blocking.

internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

package final class RawServer: Sendable {
    /// One connection, used by its thread.
    package struct Peer {
        fileprivate let descriptor: Int32

        /// What came; nil at the end.
        /// - Parameter most: in bytes.
        package func receive(most: Int = 4_096) -> [UInt8]? {
            var buffer = [UInt8](repeating: 0, count: most)
            let count = recv(descriptor, &buffer, most, 0)
            return count > 0 ? Array(buffer[..<count]) : nil
        }

        /// False: the other side is gone.
        @discardableResult
        package func send(_ bytes: some Sequence<UInt8>) -> Bool {
            let bytes = Array(bytes)
            #if canImport(Glibc)
            return Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
            #else
            return Darwin.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
            #endif
        }

        /// The connection will end with a reset, and what was not sent yet is lost.
        package func willReset() {
            var hard = linger(l_onoff: 1, l_linger: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &hard, socklen_t(MemoryLayout<linger>.size))
        }
    }

    package let port: UInt16
    private let listener: Int32

    /// Listens on 127.0.0.1 until `close`; a connection ends when `serve` returns.
    package init(_ serve: @escaping @Sendable (Peer) -> Void) throws {
        #if canImport(Glibc)
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
        let listener = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        self.listener = listener
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr = in_addr(s_addr: in_addr_t(0x7f00_0001).bigEndian)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(listener, pointer, length) == 0 && listen(listener, 64) == 0
                    && getsockname(listener, pointer, &length) == 0
            }
        }
        guard isBound else { throw ReceiverError() }
        port = UInt16(bigEndian: address.sin_port)
        OwnerThread.start(name: "raw-server") {
            while true {
                #if canImport(Glibc)
                let client = Glibc.accept(listener, nil, nil)
                #else
                let client = Darwin.accept(listener, nil, nil)
                #endif
                guard client >= 0 else { return }
                var one: Int32 = 1
                setsockopt(client, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
                OwnerThread.start(name: "raw-peer") {
                    serve(Peer(descriptor: client))
                    Self.release(client)
                }
            }
        }
    }

    package func close() {
        shutdown(listener, Int32(SHUT_RDWR))
        Self.release(listener)
    }

    private static func release(_ descriptor: Int32) {
        #if canImport(Glibc)
        _ = Glibc.close(descriptor)
        #else
        _ = Darwin.close(descriptor)
        #endif
    }
}
