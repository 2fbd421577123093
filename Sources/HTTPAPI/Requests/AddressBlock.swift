// A block of addresses in CIDR form, IPv4 or IPv6.

#if canImport(Glibc)
internal import Glibc
#else
internal import Darwin
#endif

/// `192.0.2.0/24`, `2001:db8::/32`, or one address.
struct AddressBlock: Hashable, Sendable {
    private let bytes: [UInt8]
    private let prefix: Int

    /// Nil: no address, or more bits than it has.
    init?(_ text: String) {
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

    func contains(_ address: String) -> Bool {
        guard var other = Self.bytes(of: address) else { return false }
        // An IPv4 client of a listener on both: ::ffff:192.0.2.1.
        if bytes.count == 4, other.count == 16, other.prefix(12) == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255] {
            other = Array(other.suffix(4))
        }
        guard other.count == bytes.count else { return false }
        for bit in 0..<prefix where (bytes[bit / 8] ^ other[bit / 8]) >> UInt8(7 - bit % 8) & 1 == 1 { return false }
        return true
    }

    private static func bytes(of text: String) -> [UInt8]? {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 { return withUnsafeBytes(of: &four) { Array($0) } }
        var six = in6_addr()
        if inet_pton(AF_INET6, text, &six) == 1 { return withUnsafeBytes(of: &six) { Array($0) } }
        return nil
    }
}
