// A block of addresses in CIDR form, IPv4 or IPv6.

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// `192.0.2.0/24`, `2001:db8::/32`, or one address.
public struct AddressBlock: Hashable, Sendable {
    private let bytes: [UInt8]
    private let prefix: Int

    /// Nil: no address, or more bits than it has.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let bytes = Self.bytes(of: String(parts[0])) else { return nil }
        self.bytes = bytes
        guard parts.count > 1 else {
            prefix = bytes.count * 8
            return
        }
        guard let prefix = Int(parts[1]), (0...bytes.count * 8).contains(prefix), "\(prefix)" == parts[1] else {
            return nil
        }
        self.prefix = prefix
    }

    public func contains(_ address: String) -> Bool {
        guard var other = Self.bytes(of: address) else { return false }
        // An IPv4 client of a listener on both: ::ffff:192.0.2.1.
        if bytes.count == 4, other.count == 16, other.prefix(12) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255] {
            other = Array(other.suffix(4))
        }
        guard other.count == bytes.count else { return false }
        for bit in 0..<prefix where (bytes[bit / 8] ^ other[bit / 8]) >> UInt8(7 - bit % 8) & 1 == 1 { return false }
        return true
    }

    /// What is reached from anywhere: no private, local, test or metadata address may stand behind a name that a user
    /// gave (RELIABILITY.md TH11).
    public static func isPublic(_ address: String) -> Bool {
        guard let bytes = bytes(of: address) else { return false }
        // IPv6 in use is in one eighth of its space; an IPv4 address in IPv6's clothes is judged as itself.
        let isMapped = bytes.count == 16 && bytes.prefix(12) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255]
        guard bytes.count == 4 || isMapped || bytes[0] >> 5 == 1 else { return false }
        return !closed.contains { $0.contains(address) }
    }

    private static let closed: [AddressBlock] = [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    ].compactMap { AddressBlock($0) }

    private static func bytes(of text: String) -> [UInt8]? {
        var four = in_addr()
        if unsafe inet_pton(AF_INET, text, &four) == 1 {
            return unsafe withUnsafeBytes(of: &four) { unsafe Array($0) }
        }
        var six = in6_addr()
        if unsafe inet_pton(AF_INET6, text, &six) == 1 { return unsafe withUnsafeBytes(of: &six) { unsafe Array($0) } }
        return nil
    }
}
