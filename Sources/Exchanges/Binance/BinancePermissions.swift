// What a venue key may do, asked of the venue before the key is kept (RELIABILITY.md 10.3).
internal import JSONText
public import OrderEngine
internal import SmartOrders

/// What the venue says of a key.
public struct KeyPermissions: Hashable, Sendable {
    /// Of our own: `read`, `spot`, `futures`, `withdraw`, `ipRestricted`.
    public var words: [String]
    public var mayTrade: Bool
    public var mayWithdraw: Bool

    /// Why such a key is not kept; nil: it may be.
    public var refusal: String? {
        if mayWithdraw { return "the key may withdraw" }
        return mayTrade ? nil : "the key may not trade this product"
    }
}

public enum PermissionAnswer: Hashable, Sendable {
    case known(KeyPermissions)
    /// The venue does not take the key.
    case refused
    case unreachable(String)
}

extension BinanceVenue {
    /// Asks which rights the key has.
    func permissions() async -> PermissionAnswer {
        do throws(VenueError) { try await measureClock() } catch { return .unreachable(error.detail) }
        // Rights are told by the spot host, whatever the product.
        let host = endpoint.rest.replacing("://fapi.", with: "://api.")
        let signed = requests.restrictions(at: venueTime())
        let request = SignedRequest(
            method: signed.method,
            base: host,
            path: signed.path,
            query: signed.query,
            headers: signed.headers,
        )
        switch await http.send(request, timeoutMs: Self.timeoutMs) {
        case .answered(200, let body, _):
            do {
                return .known(try Self.read(body, product: endpoint.product))
            } catch {
                return .unreachable("the venue's answer about the key cannot be read")
            }
        case .answered(let status, _, _):
            // The body is the venue's and may repeat what was sent: it goes nowhere.
            return (400...403).contains(status) ? .refused : .unreachable("the venue answers \(status)")
        case .notSent, .unknown: return .unreachable("the venue cannot be reached")
        }
    }

    static func read(_ body: [UInt8], product: BinanceProduct) throws -> KeyPermissions {
        let json = JSONField(try JSONValue(parsing: body))
        func flag(_ key: String) throws -> Bool { try json.optional(key)?.bool() ?? false }
        let rights = [
            ("read", try flag("enableReading")), ("spot", try flag("enableSpotAndMarginTrading")),
            ("futures", try flag("enableFutures")), ("withdraw", try json.bool("enableWithdrawals")),
            ("ipRestricted", try flag("ipRestrict")),
        ]
        let words = rights.filter(\.1).map(\.0)
        return KeyPermissions(
            words: words,
            mayTrade: words.contains(product == .spot ? "spot" : "futures"),
            mayWithdraw: words.contains("withdraw"),
        )
    }
}

extension AccountDirectory {
    /// What a key may do, without keeping it.
    public func permissions(of credentials: Credentials, for account: Account) async -> PermissionAnswer {
        guard let venue = venue(for: account, credentials) else {
            return .unreachable("\(account.venue):\(account.product) is not connected in this deployment")
        }
        return await venue.permissions()
    }
}
