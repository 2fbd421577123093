// Resolving a name blocks for as long as the resolver likes. It has a thread of its own, so that the owner of the
// connection keeps its deadlines.

internal import OwnerThread

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// One resolution under way or done.
final class NameLookup: Sendable {
    /// Nil while under way. Numeric addresses, IPv4 first.
    private let answer = Locked<Result<[String], LinkFailure>?>(nil)

    /// Starts it; `wake` is called when it is done.
    init(_ name: String, wake: @escaping @Sendable () -> Void) {
        if isNumeric(name) {
            answer.withLock { $0 = .success([name]) }
            return
        }
        OwnerThread.start(name: "redis-lookup") { [self] in
            let found = resolve(name)
            answer.withLock { $0 = found }
            wake()
        }
    }

    var result: Result<[String], LinkFailure>? { answer.withLock { $0 } }
}

/// A numeric address of `name`; blocks while it is resolved.
func resolvedAddress(_ name: String) throws(LinkFailure) -> String {
    if isNumeric(name) { return name }
    let found = try resolve(name).get()
    return found[0]
}

private func isNumeric(_ name: String) -> Bool {
    var address = in6_addr()
    return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1
}

private func resolve(_ name: String) -> Result<[String], LinkFailure> {
    var hints = addrinfo()
    #if canImport(Glibc)
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    #else
    hints.ai_socktype = SOCK_STREAM
    #endif
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(name, nil, &hints, &list)
    guard code == 0 else { return .failure(LinkFailure(text: "resolve: \(String(cString: gai_strerror(code)))")) }
    defer { freeaddrinfo(list) }
    var found: [(isIPv4: Bool, text: String)] = []
    var next = list
    while let entry = next?.pointee {
        let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(NI_MAXHOST)) { buffer -> String? in
            guard let start = buffer.baseAddress,
                getnameinfo(
                    entry.ai_addr,
                    entry.ai_addrlen,
                    start,
                    socklen_t(buffer.count),
                    nil,
                    0,
                    NI_NUMERICHOST,
                ) == 0
            else { return nil }
            return String(cString: start)
        }
        if let text { found.append((entry.ai_family == AF_INET, text)) }
        next = entry.ai_next
    }
    let sorted = found.filter(\.isIPv4).map(\.text) + found.filter { !$0.isIPv4 }.map(\.text)
    return sorted.isEmpty ? .failure(LinkFailure(text: "resolve: no address")) : .success(sorted)
}
